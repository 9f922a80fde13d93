"""A DuckDB file that a notebook or BI tool holds is waited for, at every step of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

import orgx_source.reading.session
from orgx_source.sandbox import Fault, Sandbox, World
from orgx_source.sync import run_sync
from orgx_source.warehouse.duckdb_file import LockPatience
from tests.running import DATABASE, differences, fast_client, pipeline, query, sync

HOLD = f"import duckdb; c = duckdb.connect('{DATABASE}'); print(1, flush=True); input()"


class Holder:
    """Another process that has the file open until somebody waits for the third time."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.waits: list[float] = []
        self.patient_for = 3

    def hold(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"1\n"

    def let_go(self) -> None:
        if self.process is not None:
            self.process.communicate(b"\n")
            self.process = None

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) >= self.patient_for:
            self.let_go()


@pytest.fixture
def holder(monkeypatch: pytest.MonkeyPatch) -> Any:
    holder = Holder()
    monkeypatch.setattr(orgx_source.reading.session, "LockPatience", partial(LockPatience, sleep=holder.sleep))
    yield holder
    holder.let_go()


def run(box: Sandbox, on_wait: Any = None) -> Any:
    client = fast_client(box, lock_timeout=30.0)
    return run_sync(client.config, pipeline(), tables=["tasks"], client=client, on_wait=on_wait)


def test_a_file_held_from_the_start_is_waited_for(holder: Holder) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        told: list[str] = []
        holder.hold()
        assert holder.process is not None
        pid = holder.process.pid
        assert run(box, lambda seconds, why: told.append(why)).status == "ok"
        assert len(holder.waits) == 3
        assert f"PID {pid}" in told[0]


def test_a_file_that_is_opened_while_orgx_is_read_is_waited_for_before_the_load(holder: Holder) -> None:
    with Sandbox(World("small")) as box:
        box.inject(Fault.drift(lambda world, number: holder.hold() if number == 3 else None))
        assert run(box).status == "ok"
        assert len(holder.waits) == 3
        assert differences(box.world, tables=["tasks"]) == []


def test_whoever_holds_it_for_too_long_is_named_and_what_was_read_is_loaded_next_time(holder: Holder) -> None:
    with Sandbox(World("small")) as box:
        box.inject(Fault.drift(lambda world, number: holder.hold() if number == 3 else None))
        holder.patient_for = 1000
        report = run(box)
        assert report.exit_code == 4
        assert holder.process is not None
        assert f"PID {holder.process.pid}" in str(report.error)
        assert sum(holder.waits) == 30.0
        holder.let_go()
        box.heal()
        box.forget()
        again = run(box)
        assert again.status == "ok"
        assert box.count() <= 3, (report.error, again.messages, again.to_json())
        assert differences(box.world, tables=["tasks"]) == []
        assert query("select count(*) from orgx.sync_log") == [(2,)]


@pytest.mark.parametrize("command", ["plan", "verify"])
def test_who_compares_with_orgx_reads_beside_a_notebook_that_reads(command: str) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["agents"])
        hold = HOLD.replace("')", "', read_only=True)")
        with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            reader.stdout.readline()
            environment = {**os.environ, "ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url}
            done = subprocess.run(
                [sys.executable, "-m", "orgx_source.cli", command, "--table", "agents", "--database", str(DATABASE)],
                capture_output=True, text=True, env=environment,
            )  # fmt: skip
            reader.communicate(b"\n")
    assert done.returncode == 0, done.stdout + done.stderr
