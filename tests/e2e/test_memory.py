"""A load makes do with little memory, and gets more where rows need it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orgx_source import duckdb_file
from orgx_source.errors import DestinationError
from orgx_source.sandbox import Sandbox, World
from orgx_source.warehouse import Warehouse
from tests.running import differences, pipeline, query, sync


def test_rows_that_do_not_fit_into_the_memory_of_a_load_are_loaded_nevertheless(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(duckdb_file, "MEMORY_LIMIT", "8MB")
    world = World("medium")
    with Sandbox(world) as box, caplog.at_level(logging.WARNING, "orgx_source.duckdb_file"):
        report = sync(box)
    assert report.exit_code == 0, report
    assert "DuckDB needs more than 8MB" in caplog.text
    assert differences(world) == []
    assert query("select count(*) from orgx._dlt_loads where status <> 0") == [(0,)]


def test_a_connection_of_the_user_s_own_keeps_its_settings(tmp_path: Path) -> None:
    settings = "select current_setting('memory_limit'), current_setting('threads')"
    file = tmp_path / "own.duckdb"
    with duckdb.connect(str(file)) as own, Sandbox(World("small")) as box:
        own.execute("set global memory_limit = '1GiB'; set global threads = 3")
        seen: list[Any] = []
        before = duckdb_file.FileClient.commit_transaction
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                duckdb_file.FileClient,
                "commit_transaction",
                lambda client: (seen.append(own.cursor().execute(settings).fetchall()[0]), before(client))[1],
            )
            report = sync(box, database=file)
        assert report.exit_code == 0, report
        assert ("152.5 MiB", 1) in seen
        assert own.execute(settings).fetchall() == [("1.0 GiB", 3)]


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
