"""Two first runs at once: nothing exists yet, one fills the dataset, and the other says so or comes after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dlt
import pytest
from filelock import FileLock, Timeout

from orgx_source.errors import DatasetTakenError
from orgx_source.sandbox import Sandbox, World
from orgx_source.warehouse.pipeline import OPENING
from tests.running import DATABASE, differences, execute, pipeline, query

# Everything is imported before the signal, so that both begin within a millisecond or two.
RUNNER = """
import sys
import orgx_source.sync, orgx_source.warehouse.duckdb_file, psycopg2
from orgx_source.cli import main
print("ready", flush=True)
sys.stdin.readline()
sys.argv = ["orgx-sync", *sys.argv[1:]]
main()
"""
ROUNDS = int(os.environ.get("ORGX_KILLS", "3"))
TABLES = ["agents", "tasks"]
TABLE_OPTIONS = [word for table in TABLES for word in ("--table", table)]
TAKEN = "Another run is writing to dataset orgx"


def start(box: Sandbox, home: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url, "DLT_DATA_DIR": str(home)}
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, "run", "--json", "--no-marts", *TABLE_OPTIONS, *options],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("homes", [("dlt", "dlt"), ("one", "other")], ids=["one home", "two homes"])
def test_of_two_first_runs_one_fills_the_dataset_and_the_other_says_so(
    each_warehouse: str, homes: tuple[str, str], tmp_path: Path
) -> None:
    where = ["--database", str(DATABASE)] if each_warehouse == "duckdb" else ["--destination", "postgres"]
    for number in range(ROUNDS):
        with Sandbox(World("small")) as box:
            both = [start(box, tmp_path / str(number) / home / "is" / "missing", *where) for home in homes]
            for process in both:
                assert process.stdout and process.stdout.readline() == "ready\n"
            for process in both:
                assert process.stdin
                process.stdin.write("\n")
                process.stdin.flush()
            told = [process.communicate(timeout=120) for process in both]
            codes = [process.returncode for process in both]
            # Both run where one is late: in turn.
            assert 0 in codes and set(codes) <= {0, 4}, told
            for code, (output, messages) in zip(codes, told, strict=True):
                assert json.loads(output)["exit_code"] == code
                assert "Traceback" not in messages and (code == 0 or TAKEN in messages)
            assert differences(box.world, tables=TABLES) == []
            for table in TABLES:
                assert query(f"select count(*) from orgx.{table}") == query(
                    f"select count(*) from orgx.{table}_history"
                )
            assert query("select count(*) from orgx.sync_log") == [(codes.count(0) * len(TABLES),)]
        execute("drop schema orgx cascade", "drop schema orgx_staging cascade")


def test_a_working_folder_that_stays_taken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pipeline().pipelines_dir
    monkeypatch.setattr("orgx_source.warehouse.pipeline.OPENING_SECONDS", 0)
    with (
        FileLock(Path(folder) / OPENING, is_singleton=False),
        pytest.raises(DatasetTakenError, match="working directory"),
    ):
        pipeline()


def test_nobody_opens_the_working_folder_while_another_process_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = dlt.pipeline

    def open_in_turn(*arguments: Any, **settings: Any) -> Any:
        with pytest.raises(Timeout):
            FileLock(Path(settings["pipelines_dir"]) / OPENING).acquire(timeout=0)
        return opened(*arguments, **settings)

    monkeypatch.setattr(dlt, "pipeline", open_in_turn)
    assert pipeline().dataset_name == "orgx"
