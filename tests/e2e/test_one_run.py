"""One run fills a dataset, wherever the second one comes from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

from orgx_source.errors import DatasetTakenError, MachineError
from orgx_source.sandbox import Fault, Sandbox, World
from orgx_source.sync import one_run_at_a_time
from orgx_source.warehouse.run_lock import lock_file
from tests.e2e.test_command import orgx_sync
from tests.running import DATABASE, differences, pipeline, query, sync

HOLD = """
import sys
from orgx_source.sync import make_pipeline, one_run_at_a_time
with one_run_at_a_time(make_pipeline(*sys.argv[1:])):
    print("held", flush=True)
    sys.stdin.read()
"""


def place(warehouse: str) -> list[str]:
    return ["--database", str(DATABASE)] if warehouse == "duckdb" else ["--destination", "postgres"]


def test_a_second_run_from_another_home_leaves_at_once_and_nothing_is_written_twice(
    each_warehouse: str, tmp_path: Path
) -> None:
    second: list[subprocess.CompletedProcess[str]] = []
    with Sandbox(World("small")) as box:

        def run_again(world: World, number: int) -> None:
            if number == 3:
                other = {"DLT_DATA_DIR": str(tmp_path / "other"), "ORGX_LOCK_TIMEOUT": "0"}
                second.append(orgx_sync("run", *place(each_warehouse), "--table", "tasks", box=box, **other))

        box.inject(Fault.drift(run_again))
        assert sync(box).status == "ok"
        box.heal()
        assert second[0].returncode == 4
        said = second[0].stdout + second[0].stderr
        assert f"Another run is writing to dataset orgx (process {os.getpid()} on " in said
        assert differences(box.world) == []
        for table in ("tasks", "agents"):
            assert query(f"select count(*) from orgx.{table}") == query(f"select count(*) from orgx.{table}_history")
        # In turn, they share the dataset.
        assert orgx_sync("run", *place(each_warehouse), box=box, DLT_DATA_DIR=str(tmp_path / "other")).returncode == 0


def test_a_holder_that_is_killed_leaves_no_lock(each_warehouse: str) -> None:
    where = ["duckdb", "orgx", str(DATABASE)] if each_warehouse == "duckdb" else ["postgres"]
    environment = {**os.environ, "DLT_DATA_DIR": "another", "PYTHONPATH": os.pathsep.join(sys.path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, *where], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin and holder.stdout
    with holder, Sandbox(World("small")) as box:
        assert holder.stdout.readline() == "held\n"
        refused = sync(box, ["agents"])
        assert (refused.exit_code, box.requests) == (4, [])
        assert f"process {holder.pid} on " in str(refused.error)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        # PostgreSQL needs a moment to see that nobody is there any more.
        while each_warehouse == "postgres" and query("select 1 from pg_locks where locktype = 'advisory'"):
            pass
        assert sync(box, ["agents"]).status == "ok"


def test_analysts_read_and_write_under_the_lock_and_other_datasets_are_filled(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box, one_run_at_a_time(pipeline()):
        other = ["--dataset", "other", "--table", "agents"]
        assert orgx_sync("run", *place(each_warehouse), *other, box=box).returncode == 0
        assert query("select count(*) from other.agents") == [(9,)]


def test_the_name_of_the_holder_is_not_written_through_a_link() -> None:
    Path("diary").write_text("dear diary")
    Path(f"{DATABASE}.orgx.holder").symlink_to("diary")
    first, second = one_run_at_a_time(pipeline()), one_run_at_a_time(pipeline())
    with first, pytest.raises(DatasetTakenError, match=f"process {os.getpid()} on "), second:
        pass
    assert Path("diary").read_text() == "dear diary"


def client(database: str, dataset: str = "orgx", kind: type = DuckDbCredentials) -> SimpleNamespace:
    credentials = kind()
    credentials.database = database
    return SimpleNamespace(credentials=credentials, dataset_name=dataset)


@pytest.mark.parametrize(
    ("database", "dataset", "expected"),
    [
        ("x.duckdb", "orgx", "x.duckdb.orgx.lock"),
        ("./x.duckdb", "OrgX", "x.duckdb.orgx.lock"),
        ("linked/x.duckdb", "orgx", "x.duckdb.orgx.lock"),
        ("link.duckdb", "orgx", "x.duckdb.orgx.lock"),
        ("x.duckdb", "a/b c", "x.duckdb.a_b_c.lock"),
        (":memory:", "orgx", None),
        ("md:warehouse", "orgx", None),
        ("nowhere/x.duckdb", "orgx", None),
    ],
)
def test_the_lock_lies_beside_the_file_whatever_it_is_called(database: str, dataset: str, expected: str | None) -> None:
    here = Path.cwd()
    (here / "x.duckdb").touch()
    (here / "link.duckdb").symlink_to("x.duckdb")
    (here / "linked").symlink_to(here, target_is_directory=True)
    assert lock_file(client(database, dataset)) == (expected and here / expected)


def test_other_files_that_duckdb_asks_have_no_lock_beside_them() -> None:
    class Elsewhere(DuckDbCredentials):
        """Such as MotherDuck's."""

    assert lock_file(client("x.duckdb", kind=Elsewhere)) is None


def test_a_lock_that_cannot_be_made_is_the_machine_s_fault() -> None:
    Path("x.duckdb.orgx.lock").mkdir()
    with (
        pytest.raises(MachineError, match=r"The lock .*x\.duckdb\.orgx\.lock cannot be created"),
        one_run_at_a_time(pipeline()),
    ):
        pass
