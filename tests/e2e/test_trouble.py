"""An error of somebody else's is one sentence, with the exit code of whoever can mend it, and without a password."""

from __future__ import annotations

import errno
import logging
import threading

import duckdb
import psycopg2.errors
import pytest
from dlt.common.configuration.exceptions import ConfigurationValueError
from dlt.common.exceptions import MissingDependencyException
from dlt.destinations.exceptions import DatabaseTerminalException, DatabaseTransientException

import orgx_source.sync
from orgx_source.api.client import OrgxClient
from orgx_source.cli import _set_up_logging
from orgx_source.config import load_config
from orgx_source.errors import ConfigError, DestinationError, MachineError, OrgxError, UnexpectedError
from orgx_source.plan import run_plan
from orgx_source.sandbox import Sandbox, World
from orgx_source.session import ReadSession
from orgx_source.trouble import describe_trouble, explain
from tests.e2e.test_command import orgx_sync
from tests.running import fast_client, pipeline, query, sync

SECRET = "correct-horse"
ADDRESS = f"postgresql+psycopg2://reader:{SECRET}@warehouse.example/db"


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ConfigurationValueError("no such field"), ConfigError, 3),
        (MissingDependencyException("dlt", ["some-driver"]), ConfigError, 3),
        (DatabaseTerminalException(psycopg2.errors.InsufficientPrivilege("permission denied")), DestinationError, 4),
        (DatabaseTransientException(psycopg2.OperationalError("server closed the connection")), DestinationError, 4),
        (DatabaseTransientException(duckdb.IOException("No space left on device")), DestinationError, 4),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), DestinationError, 4),
        (OSError(errno.ENOSPC, "No space left on device"), MachineError, 1),
        (FileNotFoundError(errno.ENOENT, "No such file", "tables.sql"), UnexpectedError, 1),
        (ZeroDivisionError("division by zero"), UnexpectedError, 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_who_can_mend_it_decides_the_class_and_the_code(error: Exception, kind: type[OrgxError], code: int) -> None:
    failure = explain(error)
    assert (type(failure), failure.exit_code) == (kind, code)
    assert ("This is a defect" in str(failure)) == (kind is UnexpectedError)
    assert " ".join(str(error).split())[:60] in str(failure)


def test_a_defect_while_one_of_our_errors_is_handled_is_still_the_defect() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        try:
            raise ConfigError("older")
        except ConfigError:
            _ = 1 // 0
    assert isinstance(explain(caught.value), UnexpectedError)


def test_no_password_stands_in_a_sentence_or_in_a_stack(capsys: pytest.CaptureFixture[str]) -> None:
    error = psycopg2.ProgrammingError(f'invalid dsn: invalid connection option "{ADDRESS}?connect_timeout"')
    assert SECRET not in str(explain(error)) + describe_trouble(error)
    assert "reader:***@warehouse.example" in describe_trouble(error)
    _set_up_logging(True)
    try:
        explain(error)
        told = capsys.readouterr().err
    finally:
        logging.getLogger("orgx_source").handlers.clear()
        _set_up_logging(False)
        logging.getLogger("dlt").disabled = False
    assert "ProgrammingError" in told
    assert SECRET not in told


@pytest.mark.parametrize("command", ["run", "check", "plan", "verify", "status", "marts --verbose"])
def test_a_destination_without_credentials_is_exit_3_and_an_address_it_cannot_read_shows_no_password(
    command: str,
) -> None:
    with Sandbox(World("small")) as box:
        done = orgx_sync(*command.split(), "--destination", "postgres", box=box)
        assert done.returncode == 3, done.stderr
        assert "The destination's settings cannot be used." in done.stdout + done.stderr
        assert "`password`" in done.stdout + done.stderr and "This is a defect" not in done.stdout + done.stderr
        done = orgx_sync(
            *command.split(), "--destination", "postgres", box=box, DESTINATION__POSTGRES__CREDENTIALS=ADDRESS
        )
        assert done.returncode == 4, done.stderr
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
        "sync_log could not be written: This machine refuses: [Errno 28] No space left on device"
    ]


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
