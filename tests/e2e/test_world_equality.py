"""The promise of the whole: the warehouse holds the world, id for id and value for value."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orgx_source.rows.column_types import ColumnTypes
from orgx_source.sandbox import Sandbox, World
from orgx_source.tables import TABLES, column_name
from orgx_source.times import utc_now
from orgx_source.warehouse.dataset import Warehouse
from tests.running import KINDS, differences, execute, pipeline, query, stored, sync


def test_every_row_and_value_of_the_world_is_in_the_warehouse() -> None:
    with Sandbox(World("medium")) as box:
        report = sync(box)
        assert (report.status, report.exit_code) == ("ok", 0)
        assert differences(box.world) == []
        for name, table in report.tables.items():
            assert table.rows_in_warehouse == box.world.count(KINDS[name])
            assert table.verdict == "certified", (name, table.reasons)


def test_a_second_run_with_nothing_changed_writes_nothing_and_asks_once_per_table() -> None:
    with Sandbox(World("medium")) as box:
        sync(box)
        before = {table: stored(table) for table in KINDS}
        box.forget()
        report = sync(box, sample=0)
        assert report.status == "ok"
        assert {table: stored(table) for table in KINDS} == before  # _dlt_load_id and last_changed_at included
        assert sum(t.rows_new + t.rows_changed + t.rows_deleted for t in report.tables.values()) == 0
        lists = [(seen.path, seen.params.get("type")) for seen in box.requests]
        assert len(lists) == len(set(lists)) == len(KINDS) + 1, lists


def test_days_that_pass_are_followed_row_by_row() -> None:
    with Sandbox(World("small")) as box:
        for _ in range(4):
            report = sync(box)
            assert report.status == "ok", report.to_json()
            assert differences(box.world) == []
            box.world.advance(days=2)


def test_rows_that_change_keep_what_did_not_and_say_when_they_changed() -> None:
    with Sandbox(World("small")) as box:
        sync(box)
        first = stored("tasks")
        task_id = next(iter(first))
        box.world.advance(hours=0.01)
        box.world.edit("task", task_id, title="Renamed", priority=None)
        report = sync(box, tables=["tasks"])
        second = stored("tasks")
        assert report.tables["tasks"].rows_changed >= 1
        assert second[task_id]["title"] == "Renamed"
        assert "priority" not in second[task_id]
        assert second[task_id]["last_changed_at"] > first[task_id]["last_changed_at"]
        assert second[task_id]["_dlt_load_id"] != first[task_id]["_dlt_load_id"]


def test_a_deleted_row_keeps_its_values_and_says_between_which_reads_it_went() -> None:
    with Sandbox(World("small")) as box:
        sync(box)
        before = stored("tasks")
        gone = list(before)[7]
        box.world.delete("task", gone)
        report = sync(box)
        assert report.tables["tasks"].rows_deleted == 1
        row = stored("tasks")[gone]
        assert row["last_seen_at"] < row["deleted_at"]
        changing = {"deleted_at", "last_seen_at", "last_changed_at", "_dlt_load_id"}
        assert {k: v for k, v in row.items() if k not in changing} == {
            k: v for k, v in before[gone].items() if k not in changing
        }
        assert query("select count(*) from orgx.tasks where deleted_at is not null") == [(1,)]


@pytest.mark.parametrize("told", ["2026-01-05T08:00:00.000Z", 1_767_600_000_000])
def test_times_that_nothing_announces_are_values_like_others(told: Any) -> None:
    with Sandbox(World("medium")) as box:
        for kind in ("workspace", "agent"):
            for row_id in box.world.find(kind):
                box.world.edit(kind, row_id, created_at=told, updated_at=told)
        report = sync(box, tables=["workspaces", "agents"])
        warehouse = Warehouse(pipeline())
        _, columns = warehouse.remembered()
        for name, table in report.tables.items():
            assert (table.error, table.verdict) == (None, "certified"), name
            types = ColumnTypes(TABLES[name], columns[name])
            rows = stored(name)
            assert rows.keys() == box.world.find(KINDS[name]).keys()
            assert {(row["created_at"], row["updated_at"]) for row in rows.values()} == {(told, told)}
            # What a read that was cut short asks where it goes on; only a time can be compared.
            assert warehouse.ids_made_after(TABLES[name], types, datetime(2020, 1, 1, tzinfo=UTC), utc_now()) == []
        warehouse.close()


@pytest.mark.usefixtures("each_warehouse")
def test_fields_whose_names_mean_something_to_a_database_are_values_like_others() -> None:
    names = [*"abdnostvx", "xmin", "ctid", "k" * 70, "select", "tasks"]
    fields: dict[str, Any] = {name: {"id": name} for name in names}
    with Sandbox(World("small")) as box:
        first, second, third = list(box.world.find("task"))[:3]
        box.world.edit("task", first, **fields)
        assert sync(box, tables=["tasks"]).status == "ok"
        box.world.now += timedelta(hours=1)
        box.world.edit("task", first, title="Renamed")
        box.world.edit("task", second, title="Renamed too", **{"k" * 70: "of another type"})
        box.world.delete("task", third)
        report = sync(box, tables=["tasks"])
        tasks = report.tables["tasks"]
        assert (report.status, tasks.rows_new, tasks.rows_changed, tasks.rows_deleted) == ("ok", 0, 2, 1)
        rows = stored("tasks")
        assert (rows[first]["title"], rows[second]["title"]) == ("Renamed", "Renamed too")
        assert "deleted_at" in rows[third]
        for name in names:
            value = rows[first].get(f"orgx_{name}") or rows[first][column_name(name)]
            assert (json.loads(value) if isinstance(value, str) else value) == {"id": name}
        versions = query("select id, count(*) from orgx.tasks_history group by id having count(*) > 1")
        assert sorted(versions) == [(row_id, 2) for row_id in sorted((first, second, third))]


@pytest.mark.usefixtures("each_warehouse")
@pytest.mark.parametrize(
    "scope", [{"workspace_id": "a", "command_center_id": 7}, {"workspace_id": {"id": "a"}, "command_center_id": "b"}]
)
def test_a_workspace_that_is_no_text_is_a_value_like_others(scope: dict[str, Any]) -> None:
    with Sandbox(World("small")) as box:
        for row_id in list(box.world.find("agent"))[:3]:
            box.world.edit("agent", row_id, **scope)
        for _ in range(2):
            assert sync(box, tables=["agents"]).status == "ok"
        assert differences(box.world, tables=["agents"]) == []
        own = next(iter(box.world.find("workspace")))
        # The text names another workspace than the one asked for; nothing else is wrong.
        report = sync(box, tables=["agents"], workspace_id=own)
        assert (report.tables["agents"].error, report.tables["agents"].rows_out_of_sight) == (None, 3)


@pytest.mark.usefixtures("each_warehouse")
@pytest.mark.marts
def test_a_decision_may_have_fields_that_a_mart_calls_so() -> None:
    taken = {"outcome": "won", "told_at": 5, "urgency_raw": "none", "asked_by_other": {"id": 1}}
    marts = "select outcome, urgency, count(*) from orgx_marts.decision_latency group by 1, 2 order by 1, 2"
    with Sandbox(World("small")) as box:
        sync(box, tables=["decisions"])
        before = query(marts)
        box.world.edit("decision", next(iter(box.world.find("decision"))), touch=False, **taken)
        execute("drop schema orgx_marts cascade")
        assert sync(box, tables=["decisions"], full=True).status == "ok"
        assert query(marts) == before
