"""An error of somebody else's is one sentence, with the exit code of whoever can mend it, and without a password."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import psycopg2.errors
import pytest
from dlt.common.configuration.exceptions import ConfigurationValueError
from dlt.common.exceptions import MissingDependencyException
from dlt.destinations.exceptions import (
    DatabaseTerminalException,
    DatabaseTransientException,
    InvalidFilesystemLayout,
)
from dlt.pipeline.exceptions import PipelineStepFailed

import orgx_source.sync
from orgx_source.api.client import OrgxClient
from orgx_source.cli import _set_up_logging
from orgx_source.commands.plan import run_plan
from orgx_source.config import load_config
from orgx_source.errors import ConfigError, DestinationError, MachineError, OrgxError, UnexpectedError
from orgx_source.explain import describe_trouble, explain, without_secrets
from orgx_source.notebook import open_marts
from orgx_source.reading.session import ReadSession
from orgx_source.sandbox import Sandbox, World
from orgx_source.sync import make_pipeline
from orgx_source.warehouse.dataset import Warehouse
from tests.e2e.test_command import orgx_sync
from tests.running import differences, execute, fast_client, pipeline, query, sync

SECRET = "correct-horse"
ADDRESS = f"postgresql+psycopg2://reader:{SECRET}@warehouse.example/db"


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ConfigurationValueError("no such field"), ConfigError, 3),
        (MissingDependencyException("dlt", ["some-driver"]), ConfigError, 3),
        (DatabaseTerminalException(psycopg2.errors.InsufficientPrivilege("permission denied")), ConfigError, 3),
        (psycopg2.OperationalError('FATAL: database "nodb" does not exist'), ConfigError, 3),
        (psycopg2.OperationalError('FATAL: password authentication failed for user "reader"'), ConfigError, 3),
        (psycopg2.ProgrammingError('invalid dsn: invalid URI query parameter: "pasword"'), ConfigError, 3),
        (duckdb.IOException('Cannot open file "no/x.duckdb": No such file or directory'), ConfigError, 3),
        (duckdb.IOException('The file "x" exists, but it is not a valid DuckDB database file!'), ConfigError, 3),
        (InvalidFilesystemLayout("{nonsense}", ["nonsense"], [], ["nonsense"], []), ConfigError, 3),
        (DatabaseTransientException(psycopg2.OperationalError("server closed the connection")), DestinationError, 4),
        (psycopg2.OperationalError("connection to server on socket failed: No such file"), DestinationError, 4),
        (DatabaseTransientException(duckdb.IOException("No space left on device")), DestinationError, 4),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), DestinationError, 4),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), DestinationError, 4),
        (OSError(errno.EHOSTUNREACH, "No route to host"), DestinationError, 4),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), DestinationError, 4),
        (DatabaseTerminalException(duckdb.ConversionException("could not convert")), OrgxError, 1),
        (OSError(errno.ENOSPC, "No space left on device"), MachineError, 1),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), MachineError, 1),
        (MemoryError("of a million rows"), MachineError, 1),
        (FileNotFoundError(errno.ENOENT, "No such file", "tables.sql"), UnexpectedError, 1),
        (ZeroDivisionError("division by zero"), UnexpectedError, 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_who_can_mend_it_decides_the_class_and_the_code(error: Exception, kind: type[OrgxError], code: int) -> None:
    failure = explain(error)
    assert (type(failure), failure.exit_code) == (kind, code)
    assert ("This is a bug" in str(failure)) == (kind is UnexpectedError)
    told = str(getattr(error, "inner_exc", error))
    assert " ".join(told.split())[:60] in str(failure)
    # The same inside a step of dlt's, which wraps it twice: what was loaded must not decide how it is called.
    step = PipelineStepFailed(pipeline(), "load", "id", error)
    inside = explain(step)
    assert inside.exit_code == code
    assert kind in (UnexpectedError, OrgxError) or type(inside) is kind


def test_a_defect_while_one_of_our_errors_is_handled_is_still_the_defect() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        try:
            raise ConfigError("older")
        except ConfigError:
            _ = 1 // 0
    assert isinstance(explain(caught.value), UnexpectedError)


@pytest.mark.parametrize(
    "text",
    [
        f'invalid connection option "postgresql+psycopg2://reader:{SECRET}@warehouse.example/db?connect_timeout"',
        f"postgresql://reader:p@ss/{SECRET}@warehouse.example/db",
        f'could not translate host name "ss{SECRET}@warehouse.example" to address: Name or service not known',
        f"host=warehouse.example user=reader password={SECRET} dbname=db",
        f"host=warehouse.example user=reader password = '{SECRET} and more' dbname=db",
        f"Driver=x;Server=warehouse.example;UID=reader;PWD={SECRET};",
        f"{{'password': '{SECRET}', 'host': 'warehouse.example'}}",
        f"https://warehouse.example/?access_token={SECRET}&x=1",
        "oxk_correcthorse at warehouse.example",
    ],
)
def test_no_password_stands_in_a_sentence_or_in_a_stack(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = psycopg2.ProgrammingError(text)
    _set_up_logging(True)
    try:
        sentence = str(explain(error)) + describe_trouble(error)
        told = capsys.readouterr().err
    finally:
        logging.getLogger("orgx_source").handlers.clear()
        _set_up_logging(False)
        logging.getLogger("dlt").disabled = False
    assert "ProgrammingError" in told
    for shown in (sentence, told):
        assert "***" in shown and "warehouse.example" in shown
        assert SECRET not in shown and "correcthorse" not in shown and "and more" not in shown


def test_what_is_no_password_is_shown() -> None:
    text = "psql://host/db: relation orgx.tasks at line 3, maria@example.com, `password` is missing, oxk_ and letters"
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        (("status", "--destination", f"postgresql://u:{SECRET}@h/db"), {}),
        (("status", "--destination", f"x?password={SECRET}"), {}),
        (("check",), {"ORGX_BASE_URL": f"oxk_{SECRET}", "ORGX_API_KEY": "oxk_whatever_1234"}),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(command: tuple[str, ...], setting: dict[str, str]) -> None:
    done = orgx_sync(*command, **setting)
    assert done.returncode == 3
    assert SECRET not in done.stdout + done.stderr
    assert "destination is not a valid name" in done.stderr or "SOURCES__ORGX__BASE_URL" in done.stderr


@pytest.mark.parametrize("command", ["run", "check", "plan", "verify", "status", "marts --verbose"])
def test_a_destination_without_credentials_is_exit_3_and_an_address_it_cannot_read_shows_no_password(
    command: str,
) -> None:
    with Sandbox(World("small")) as box:
        done = orgx_sync(*command.split(), "--destination", "postgres", box=box)
        assert done.returncode == 3, done.stderr
        assert "The destination's settings cannot be used." in done.stdout + done.stderr
        assert "Missing: database, password, username, host." in done.stdout + done.stderr
        assert "This is a bug" not in done.stdout + done.stderr
        done = orgx_sync(
            *command.split(), "--destination", "postgres", box=box, DESTINATION__POSTGRES__CREDENTIALS=ADDRESS
        )
        assert done.returncode == 3, done.stderr
        assert "invalid dsn" in done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr


def test_a_log_that_cannot_be_written_costs_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(rows: list[object]) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(orgx_source.sync, "sync_log_source", full)
    with Sandbox(World("small")) as box:
        report = sync(box, ["agents"])
    assert report.exit_code == 1
    assert report.tables["agents"].rows_in_warehouse
    # Nothing waits for the next run, so nothing is promised.
    assert report.messages == [
        "sync_log could not be written: A file operation on this machine failed: [Errno 28] No space left on device"
    ]


@pytest.mark.marts
def test_marts_are_made_of_what_was_loaded_though_it_could_not_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise DestinationError("busy")

    monkeypatch.setattr(orgx_source.sync, "_count", refuse)
    with Sandbox(World("small")) as box:
        assert sync(box, ["agents"]).error == "busy"
    assert query("select count(*) from orgx_marts.stg_orgx__as_of") == [(1,)]


def test_a_plan_that_is_interrupted_while_it_fetches_the_state_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["agents"])
        client, to = fast_client(box), pipeline()

        def interrupt(*given: object, **named: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(type(to), "_restore_state_from_destination", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_plan(client.config, to, tables=["agents"], client=client)


def test_who_interrupts_a_run_does_not_wait_for_an_answer_that_is_on_its_way() -> None:
    with Sandbox(World("small")) as box:
        client = OrgxClient(load_config(api_key=box.api_key, base_url=box.url))
        session, answered = ReadSession(client.config, client), threading.Event()
        session.executor.submit(answered.wait)
        client.budget.stop()
        closing = threading.Thread(target=session.close, daemon=True)
        closing.start()
        closing.join(30)
        left = not closing.is_alive()
        answered.set()
        assert left


def test_who_interrupts_a_run_that_waits_for_the_file_does_not_wait_on() -> None:
    with Sandbox(World("small")) as box:
        client = OrgxClient(load_config(api_key=box.api_key, base_url=box.url, lock_timeout=3600))
        session, waiting = ReadSession(client.config, client), threading.Event()
        session.patience.on_wait = lambda seconds, why: waiting.set()
        session.warehouse(pipeline())
        error = duckdb.IOException("Could not set lock on file: Conflicting lock is held in x (PID 1)")

        def wait() -> None:
            while session.patience.wait(error):
                pass

        assert session._warehouse is not None
        session._warehouse._thread.submit(wait)
        assert waiting.wait(30)
        client.budget.stop()
        closing = threading.Thread(target=session.close, daemon=True)
        closing.start()
        closing.join(20)
        left = not closing.is_alive()
        session.patience.stop()
        assert left


def test_who_interrupts_a_run_while_the_log_is_written_interrupts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    to = pipeline()
    extract = type(to).extract

    def interrupt(self: Any, source: Any, **named: Any) -> Any:
        if "sync_log" in source.resources:
            raise PipelineStepFailed(self, "extract", "id", KeyboardInterrupt())
        return extract(self, source, **named)

    monkeypatch.setattr(type(to), "extract", interrupt)
    with Sandbox(World("small")) as box, pytest.raises(KeyboardInterrupt):
        sync(box, ["agents"])


def test_the_log_s_own_failure_outweighs_that_a_later_run_would_mend_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(rows: list[object]) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(orgx_source.sync, "sync_log_source", full)
    with Sandbox(World("small")) as box:
        report = sync(box, ["agents", "tasks"], max_requests=2)
    assert 4 in [table.exit_code for table in report.tables.values()]
    assert report.exit_code == 1


@pytest.mark.marts
def test_what_would_fail_every_night_is_given_up_at_once_and_every_night_is_in_the_log() -> None:
    with Sandbox(World("small")) as box:
        assert sync(box, ["agents"]).exit_code == 0
        execute(
            "drop schema orgx_marts cascade",
            "drop view orgx.agents_versions",
            "alter table orgx.agents alter column name type integer using 1",
            "update orgx.agents set _row_hash = 'x'",
        )
        for _ in range(2):
            report = sync(box, ["agents"], full=True)
            assert report.exit_code == 1
            assert "was discarded; its rows are read again" in str(report.tables["agents"].error)
            assert not pipeline().has_pending_data
        execute("alter table orgx.agents alter column name type varchar")
        report = sync(box, ["agents"], full=True)
        assert (report.exit_code, report.messages) == (0, [])
        assert differences(box.world, tables=["agents"]) == []
    assert query("select status, count(*) from orgx.sync_log group by status order by 1") == [("failed", 2), ("ok", 2)]


@pytest.mark.parametrize("prefix", ["", "ORGX__"], ids=["everywhere", "this-pipeline"])
@pytest.mark.parametrize("abort", ["false", "true"], ids=["", "and-aborted"])
@pytest.mark.marts
def test_a_job_that_failed_fails_the_run_whatever_dlts_settings_say(
    each_warehouse: str, prefix: str, abort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sandbox(World("small")) as box:
        assert sync(box, ["tasks"]).exit_code == 0
        execute(
            "drop schema orgx_marts cascade",
            "create table orgx.kept as select id, title from orgx.tasks",
            "drop view orgx.tasks_versions",
            "alter table orgx.tasks alter column title type integer using 1",
        )
        monkeypatch.setenv(f"{prefix}LOAD__RAISE_ON_FAILED_JOBS", "false")
        monkeypatch.setenv(f"{prefix}LOAD__AUTO_ABORT_ON_TERMINAL_ERROR", abort)
        box.world.edit("task", next(iter(box.world.find("task"))), title="another")
        report = sync(box, ["tasks"])
        assert report.exit_code == 1
        error = report.error or report.tables["tasks"].error or ""
        assert "INT32" in error or "is of type integer" in error
        assert "Traceback" not in error
        assert "tasks: " in error
        assert os.environ[f"{prefix}LOAD__RAISE_ON_FAILED_JOBS"] == "false"
        # The load of the rows; that of the log counts. Elsewhere the package was given up before it was called loaded.
        revoked = prefix and abort == "false"
        assert query("select count(*) from orgx._dlt_loads where status = 1") == [(1 if revoked else 0,)]
        execute(
            "drop schema if exists orgx_marts cascade",
            "drop view if exists orgx.tasks_versions",
            "alter table orgx.tasks alter column title type varchar",
            "update orgx.tasks set title = kept.title from orgx.kept as kept where kept.id = tasks.id",
        )
        assert sync(box, ["tasks"]).exit_code == 0
        assert differences(box.world, tables=["tasks"]) == []


@pytest.mark.parametrize("is_first", [True, False])
def test_a_working_directory_that_is_deleted_during_a_run_is_named(*, is_first: bool) -> None:
    with Sandbox(World("small")) as box:
        if not is_first:
            sync(box, ["tasks"])
        box.world.edit("task", box.world.rows("task")[0]["id"], title="edited")
        client = fast_client(box)
        report = orgx_source.sync.run_sync(
            client.config,
            pipeline(),
            tables=["tasks"],
            client=client,
            on_progress=lambda *_: shutil.rmtree("dlt", True),
        )
        assert report.exit_code == 1, report.to_json()
        assert "was deleted during the run" in str(report.error)
        assert "bug" not in " ".join([str(report.error), *report.messages])
        assert sync(box, ["tasks"]).exit_code == 0
        assert differences(box.world, tables=["tasks"]) == []


def test_a_directory_that_dlt_cannot_work_in_is_the_machine_s_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = orgx_sync("run", "--quiet", ORGX_API_KEY="oxk_whatever_1234", DLT_DATA_DIR=str(tmp_path / "file" / "x"))
    assert done.returncode == 1
    assert "dlt's working directory cannot be used" in done.stderr
    assert "This is a bug" not in done.stderr


def test_settings_that_cannot_be_read_are_not_blamed_on_the_destination() -> None:
    Path(".dlt").mkdir(exist_ok=True)
    Path(".dlt/secrets.toml").write_text(f"[sources.orgx]\napi_key = oxk_{SECRET}\n")
    done = orgx_sync("check")
    assert done.returncode == 3
    assert "secrets.toml" in done.stderr and "The destination" not in done.stderr
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.marts
def test_a_destination_without_sql_is_filled_and_what_needs_sql_says_so() -> None:
    # dlt's own destination for tests; it takes every load and keeps nothing.
    with Sandbox(World("small")) as box:
        for _ in range(2):
            done = orgx_sync(
                *("run", "--destination", "dummy", "--untested", "--table", "agents"),
                box=box,
                DESTINATION__DUMMY__COMPLETED_PROB="1.0",
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "The destination dummy (dummy) was never tested with this package" in done.stdout
        for command in (["marts"], ["report"], ["export", "x"], ["verify"]):
            done = orgx_sync(*command, "--destination", "dummy", box=box, ORGX_UNTESTED="1")
            assert done.returncode == 3, done.stdout + done.stderr
            assert "does not support SQL" in done.stdout + done.stderr


def test_the_code_is_that_of_the_run_although_nobody_reads_what_it_prints() -> None:
    with Sandbox(World("small")) as box:
        environment = {**os.environ, "ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url}
        command = [sys.executable, "-m", "orgx_source.cli", "run", "--table", "agents"]
        reading, writing = os.pipe()
        os.close(reading)
        for options, code in (((), 0), (("--max-requests", "1"), 4)):
            done = subprocess.run([*command, *options], env=environment, stdout=writing, stderr=subprocess.PIPE)
            assert (done.returncode, done.stderr) == (code, b"")
        os.close(writing)


def test_a_warehouse_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        with pytest.raises(ConfigError):
            Warehouse(make_pipeline("postgres"))
        warehouse = Warehouse(make_pipeline(database=tmp_path / "missing" / "x.duckdb"))
        with pytest.raises(ConfigError):
            warehouse.check_names()
        warehouse.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert not [thread for thread in threading.enumerate() if thread not in before]


@pytest.mark.marts
def test_a_notebook_hears_of_settings_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match="The destination's settings cannot be used"):
        open_marts(destination="postgres").query("select 1")
