"""What the warehouse holds and how old it is, from what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orgx_source.commands import status as status_module
from orgx_source.commands.status import summarise
from orgx_source.tables import TABLES, Table

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)


class Stored:
    """A dataset of which everything is known."""

    def __init__(self, log: Sequence[dict[str, Any]] = (), loads: Sequence[str] = ("load",)) -> None:
        self.log, self.loads = list(log), loads

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        yield

    def read_log(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        assert "verdict" in columns
        return self.log

    def describe(self, table: Table) -> tuple[int, int, datetime]:
        return 10, 2, NOW

    def has_loads(self, load_ids: Sequence[str]) -> bool:
        return set(load_ids) <= set(self.loads)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "utc_now", lambda: NOW)


def state(hours: float, load_id: str = "load") -> dict[str, Any]:
    read_at = (NOW - timedelta(hours=hours)).isoformat()
    return {"read_at": read_at, "whole_read_at": read_at, "route": "/r", "load_id": load_id}


def entry(run: str, table: str = "tasks", **values: Any) -> dict[str, Any]:
    row = {"run_id": run, "table_name": table, "started_at": NOW, "finished_at": NOW, "status": "ok"}
    return row | {"run_requests": 7, **values}


def test_a_table_that_was_read_in_time_is_fresh() -> None:
    report = summarise(Stored(), dict.fromkeys(TABLES, state(1)), timedelta(hours=26))
    assert (report.stale, report.exit_code) == ([], 0)
    tasks = report.tables["tasks"]
    assert (tasks.rows, tasks.deleted, tasks.last_change, tasks.route) == (10, 2, NOW, "/r")
    assert tasks.last_read == tasks.last_whole_read == NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    "states", [{}, {"tasks": state(26)}, {"tasks": state(1, "lost")}, {"tasks": {"read_at": None, "load_id": "load"}}]
)
def test_a_table_that_was_read_long_ago_or_never_is_stale(states: dict[str, Any]) -> None:
    others = {name: state(1) for name in TABLES if name != "tasks"}
    report = summarise(Stored(), others | states, timedelta(hours=26))
    assert (report.stale, report.exit_code) == (["tasks"], 4)


def test_what_was_read_counts_only_where_it_arrived() -> None:
    report = summarise(Stored(), {"tasks": state(1, "lost")}, timedelta(hours=26))
    assert (report.tables["tasks"].last_read, report.tables["tasks"].last_whole_read) == (None, None)


def test_the_last_read_that_was_logged_tells_verdict_and_error() -> None:
    log = [entry("one", verdict="certified"), entry("two", error="503"), entry("two", "workspaces", verdict="repaired")]
    report = summarise(Stored(log), {"tasks": state(1)}, timedelta(hours=26))
    assert (report.tables["tasks"].verdict, report.tables["tasks"].error) == (None, "503")


def test_runs_are_added_up_newest_first() -> None:
    log = [
        entry("one", "tasks", rows_new=1, rows_changed=2, rows_deleted=3, verdict="certified"),
        entry("one", "agents", rows_new=10, rows_changed=None, verdict="uncertified"),
        entry("one", "activity", error="closed", verdict="uncertified"),
        entry("two", run_requests=None),
    ]
    two, one = summarise(Stored(log), {}, timedelta(hours=26)).runs
    assert (two.run_id, two.requests) == ("two", 0)
    assert (one.rows_new, one.rows_changed, one.rows_deleted, one.requests) == (11, 2, 3, 7)
    assert (one.doubtful, one.failed) == (["agents"], ["activity"])


def test_ten_runs_are_told() -> None:
    log = [entry(f"{number}") for number in range(12)]
    assert [run.run_id for run in summarise(Stored(log), {}, timedelta(1)).runs] == [f"{n}" for n in range(11, 1, -1)]


def test_times_are_texts_in_json() -> None:
    report = summarise(Stored([entry("one")]), {"tasks": state(1)}, timedelta(hours=26))
    document = report.to_json()
    assert document["tables"]["tasks"]["last_read"] == "2026-11-20T01:00:00+00:00"
    assert document["runs"][0]["started_at"] == "2026-11-20T02:00:00+00:00"
