"""A load makes do with little memory, and gets more where rows need it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dlt.destinations.exceptions import DatabaseTransientException
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

from orgx_source.errors import CommitError, DestinationError
from orgx_source.sandbox import Sandbox, World
from orgx_source.warehouse import duckdb_file
from orgx_source.warehouse.dataset import Warehouse
from tests.running import differences, pipeline, query, sync


def test_rows_that_do_not_fit_into_the_memory_of_a_load_are_loaded_nevertheless(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(duckdb_file, "MEMORY_LIMIT", "8MB")
    world = World("medium")
    with Sandbox(world) as box, caplog.at_level(logging.WARNING, "orgx_source.warehouse.duckdb_file"):
        report = sync(box)
    assert report.exit_code == 0, report
    assert "DuckDB needs more than 8MB" in caplog.text
    assert differences(world) == []
    assert query("select count(*) from orgx._dlt_loads where status <> 0") == [(0,)]


def test_a_query_that_needs_more_memory_has_it_at_its_next_try(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(duckdb_file, "MEMORY_LIMIT", "16MB")
    # One list of four million numbers cannot be written to disk in pieces.
    sql = "select length(list(i)) from range(4000000) as numbers(i)"
    warehouse = Warehouse(pipeline(tmp_path / "x.duckdb"))
    try:
        with (
            warehouse.kept_open(saving_memory=True),
            caplog.at_level(logging.WARNING, "orgx_source.warehouse.duckdb_file"),
        ):
            with pytest.raises(DestinationError, match="Out of Memory"):
                warehouse.with_client(lambda client: client.execute_sql(sql))
            assert "DuckDB needs more than 16MB here; the limit is lifted" in caplog.text
            assert warehouse.with_client(lambda client: client.execute_sql(sql)) == [(4_000_000,)]
    finally:
        warehouse.close()


def test_a_limit_that_cannot_be_set_again_undoes_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = duckdb_file.FileClient._limit

    def refuse_after_commits(client: Any, memory: str) -> None:
        if memory == duckdb_file.MEMORY_LIMIT and client._file.before and not client._file.limited and committed:
            raise duckdb.InvalidInputException("no such limit")
        limit(client, memory)

    committed: list[int] = []
    commit = DuckDbSqlClient.commit_transaction
    monkeypatch.setattr(DuckDbSqlClient, "commit_transaction", lambda c: (commit(c), committed.append(1))[0])
    monkeypatch.setattr(duckdb_file.FileClient, "_limit", refuse_after_commits)
    world = World("small")
    with Sandbox(world) as box:
        report = sync(box, ["tasks"])
    assert report.exit_code == 0, report
    assert differences(world, tables=["tasks"]) == []
    assert query("select count(*) from orgx_staging.tasks") == [(0,)]


def test_a_connection_of_the_user_s_own_keeps_its_settings_and_every_commit_has_its_memory(tmp_path: Path) -> None:
    settings = "select current_setting('memory_limit'), current_setting('threads')"
    file = tmp_path / "own.duckdb"
    with duckdb.connect(str(file)) as own, Sandbox(World("small")) as box:
        own.execute("set global memory_limit = '1GiB'; set global threads = 3")
        before_commit: list[Any] = []
        at_commit: list[Any] = []

        def watch(name: str, owner: type, seen: list[Any]) -> None:
            original = getattr(owner, name)
            patch.setattr(
                owner,
                name,
                lambda client: (seen.append(own.cursor().execute(settings).fetchall()[0]), original(client))[1],
            )

        with pytest.MonkeyPatch.context() as patch:
            # One load job at a time: otherwise another one's commit may have lifted the limit.
            patch.setenv("LOAD__WORKERS", "1")
            watch("commit_transaction", duckdb_file.FileClient, before_commit)
            watch("commit_transaction", DuckDbSqlClient, at_commit)
            report = sync(box, database=file)
        assert report.exit_code == 0, report
        assert ("152.5 MiB", 1) in before_commit
        # The staging inserts commit as well: two jobs for each of nine tables, and more for their histories.
        assert len(at_commit) > 18
        assert {memory for memory, _ in at_commit} == {"1.0 GiB"}
        assert own.execute(settings).fetchall() == [("1.0 GiB", 3)]


class Witness:
    """Fails a commit once, and leaves in the DuckDB instance what only lives as long as it does."""

    def __init__(self, patch: pytest.MonkeyPatch, statement: str, error: duckdb.Error) -> None:
        self.failed = 0
        self.seen_later: list[int] = []
        original = DuckDbSqlClient.commit_transaction
        execute = DuckDbSqlClient.execute_query
        last: dict[int, str] = {}

        def remember(client: Any, query: str, *args: Any, **kwargs: Any) -> Any:
            last[id(client)] = query
            return execute(client, query, *args, **kwargs)

        def commit(client: Any) -> None:
            if self.failed:
                sql = "select count(*) from duckdb_databases() where database_name = 'witness'"
                self.seen_later.append(client.native_connection.execute(sql).fetchall()[0][0])
            elif statement in last.get(id(client), ""):
                self.failed += 1
                client.native_connection.cursor().execute("attach ':memory:' as witness")
                raise DatabaseTransientException(error)
            original(client)

        patch.setattr(DuckDbSqlClient, "execute_query", remember)
        patch.setattr(DuckDbSqlClient, "commit_transaction", commit)


COMMITS = {
    "staging": '"orgx_staging"."tasks" BY NAME',
    "staged history": '"orgx_staging"."tasks_history" BY NAME',
    "delete-insert": 'DELETE FROM "x"."orgx"."tasks"',
    "insert-only": 'MERGE INTO "x"."orgx"."tasks_history"',
    "the log": 'INTO "x"."orgx"."sync_log"',
}


@pytest.mark.parametrize("statement", ["staging", "staged history", "delete-insert", "insert-only"])
def test_after_a_commit_that_failed_the_file_is_closed_before_the_load_goes_on(
    monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    world = World("small")
    witness = Witness(monkeypatch, COMMITS[statement], duckdb.TransactionException("no memory"))
    with Sandbox(world) as box:
        report = sync(box)
    assert witness.failed == 1
    assert report.exit_code == 0, report
    assert witness.seen_later and set(witness.seen_later) == {0}
    assert differences(world) == []
    assert query("select count(*) from orgx._dlt_loads where status <> 0") == [(0,)]


def test_a_commit_that_failed_while_somebody_else_keeps_the_file_open_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world, file = World("small"), tmp_path / "own.duckdb"
    with Sandbox(world) as box:
        with duckdb.connect(str(file)), pytest.MonkeyPatch.context() as patch:
            witness = Witness(patch, COMMITS["staging"], duckdb.TransactionException("no memory"))
            report = sync(box, database=file)
            warehouse = Warehouse(pipeline(file))
            with pytest.raises(CommitError):
                warehouse.check_names()
            warehouse.close()
        assert witness.failed == 1
        assert (report.status, report.exit_code) == ("incomplete", 4)
        assert "could not commit: no memory. Nothing more is written" in str(report.error), report.error
        assert not witness.seen_later, "something was committed in the instance in which a commit had failed"
        again = sync(box, database=file)
        assert again.exit_code == 0, again
    assert differences(world, file) == []


def test_where_the_log_could_not_be_committed_the_next_run_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(World("small")) as box:
        witness = Witness(monkeypatch, COMMITS["the log"], duckdb.TransactionException("no memory"))
        report = sync(box)
        assert witness.failed == 1
        assert report.exit_code == 4
        assert "sync_log could not be written; the next run writes it" in " ".join(report.messages)
        assert sync(box).exit_code == 0
    assert query("select count(*), count(distinct run_id) from orgx.sync_log") == [(18, 2)]


def test_a_load_whose_checkpoint_failed_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("small")
    with Sandbox(world) as box:
        assert sync(box).exit_code == 0
        world.advance(days=1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(duckdb_file, "CHECKPOINT", "checkpoint no_such_database")
            report = sync(box)
        assert (report.status, report.exit_code) == ("incomplete", 4)
        assert "does not count" in str(report.error), report.error
        assert query("select count(*) from orgx._dlt_loads where status <> 0") == [(1,)]
        again = sync(box)
        assert again.exit_code == 0, again
        # No cursor of that load is believed: whatever it was to bring is looked for once more.
        assert all(table.whole for name, table in again.tables.items() if name != "activity")
    assert differences(world) == []


def test_a_file_that_could_not_be_opened_is_held_at_the_next_try(tmp_path: Path) -> None:
    warehouse = Warehouse(pipeline(tmp_path / "held.duckdb"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(duckdb_file.FileClient, "open_connection", _refuse)
            with pytest.raises(DestinationError), warehouse.kept_open(saving_memory=True):
                raise AssertionError("it was not held")
        with warehouse.kept_open(saving_memory=True):
            limit = warehouse.with_client(lambda client: client.execute_sql("select current_setting('memory_limit')"))
        assert limit == [("152.5 MiB",)]
    finally:
        warehouse.close()


def _refuse(client: Any) -> None:
    raise duckdb.IOException("the disk is on fire")
