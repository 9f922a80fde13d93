"""A load makes do with little memory, and gets more where rows need it."""

from __future__ import annotations

import logging

import pytest

from orgx_source import duckdb_file
from orgx_source.sandbox import Sandbox, World
from tests.running import differences, query, sync


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
