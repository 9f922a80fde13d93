"""Every version that a run saw is in history, once; the view says until when it held."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orgx_source.sandbox import Fault, Sandbox, World
from tests.running import differences, execute, query, sync

pytestmark = pytest.mark.usefixtures("each_warehouse")

HISTORIES = ("initiatives", "agents", "artifacts", "decisions", "workstreams", "milestones", "tasks")


def versions(row_id: str, columns: str = "title, deleted_at is not null") -> list[tuple[Any, ...]]:
    return query(f"select {columns} from orgx.tasks_versions where id = '{row_id}' order by valid_from")


def assert_history_agrees(tables: Sequence[str] = HISTORIES) -> None:
    """Each row's latest version is the row, no version stands twice, and none follows an equal one."""
    for table in tables:
        latest = f"select id, _row_hash, deleted_at, valid_from from orgx.{table}_versions where is_current"
        rows = f"select id, _row_hash, deleted_at, last_changed_at from orgx.{table}"
        assert query(f"({latest} except {rows}) union all ({rows} except {latest})") == [], table
        repeated = f"""
            select id from (
                select id, _row_hash, deleted_at,
                    lag(_row_hash) over w as hash_before, lag(deleted_at) over w as deleted_before
                from orgx.{table}_history window w as (partition by id order by valid_from)
            ) versions where _row_hash = hash_before and deleted_at is not distinct from deleted_before"""
        assert query(repeated) == [], table


def test_edits_deletion_and_return_are_versions_and_a_quiet_run_is_none() -> None:
    with Sandbox(World("small")) as box:
        task = box.world.rows("task")[3]
        sync(box, ["tasks"])
        box.world.advance(hours=0.1)
        box.world.edit("task", task["id"], title="second")
        sync(box, ["tasks"])
        sync(box, ["tasks"])
        second = box.world.rows("task")[3]
        box.world.delete("task", task["id"])
        sync(box, ["tasks"])
        box.world.insert("task", **second)
        sync(box, ["tasks"])
        assert versions(task["id"]) == [
            (task["title"], False), ("second", False), ("second", True), ("second", False),
        ]  # fmt: skip
        assert_history_agrees(["tasks"])
        assert differences(box.world, tables=["tasks"]) == []


def test_what_did_it_look_like_on_a_day_is_one_query() -> None:
    with Sandbox(World("small")) as box:
        task = box.world.rows("task")[3]
        sync(box, ["tasks"])
        box.world.edit("task", task["id"], title="second")
        sync(box, ["tasks"])
        moments = [row[0] for row in versions(task["id"], "valid_from::varchar")]
        for moment, title in zip(moments, (task["title"], "second"), strict=True):
            found = query(
                f"select id, title from orgx.tasks_versions where valid_from <= '{moment}' "
                f"and (valid_to > '{moment}' or valid_to is null) and deleted_at is null"
            )
            assert len(found) == len({row[0] for row in found}) == box.world.count("task")
            assert dict(found)[task["id"]] == title


def test_a_column_that_appears_later_is_null_before_and_the_view_has_it() -> None:
    with Sandbox(World("small")) as box:
        task_id = box.world.rows("task")[0]["id"]
        sync(box, tables=["tasks"])
        box.inject(Fault("unknown_fields"))
        sync(box, tables=["tasks"], full=True)
        found = versions(task_id, "future_field, future_nested, is_current")
        assert found[0] == (None, None, False)
        assert (found[1][0] is not None, found[1][2]) == (True, True)
        assert query("select count(*) from orgx.tasks_versions where is_current") == [(box.world.count("task"),)]


def test_the_order_of_keys_and_volatile_fields_make_no_version() -> None:
    with Sandbox(World("small")) as box:
        decision = box.world.rows("decision")[0]
        box.world.edit("decision", decision["id"], metadata={"a": 1, "b": {"c": 1, "d": 2}})
        sync(box, tables=["decisions"])
        box.world.edit(
            "decision", decision["id"], touch=False, metadata={"b": {"d": 2, "c": 1}, "a": 1}, waiting_minutes=99999
        )
        report = sync(box, tables=["decisions"], full=True)
        assert report.tables["decisions"].rows_changed == 0
        assert query("select count(*) from orgx.decisions_history") == [(box.world.count("decision"),)]


def test_days_that_pass_leave_a_history_that_agrees() -> None:
    with Sandbox(World("small")) as box:
        for _ in range(3):
            sync(box)
            box.world.advance(days=3)
        sync(box)
        assert_history_agrees()


def test_the_version_of_a_row_that_someone_deleted_from_the_history_is_written_again() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        box.world.advance(hours=0.1)
        edited = [row["id"] for row in box.world.rows("task")[:3]]
        for row_id in edited:
            box.world.edit("task", row_id, title="second")
        sync(box, ["tasks"])
        execute("delete from orgx.tasks_history where title = 'second'")
        report = sync(box, ["tasks"]).tables["tasks"]
        assert report.reasons == ["3 versions were missing from the history and were written again"]
        assert (report.verdict, report.exit_code) == ("repaired", 0)
        assert_history_agrees(["tasks"])
        assert [len(versions(row_id)) for row_id in edited] == [2, 2, 2]
        assert sync(box, ["tasks"]).tables["tasks"].verdict == "certified"


def test_a_load_that_was_lost_half_way_is_mended_on_both_sides() -> None:
    with Sandbox(World("small")) as box:
        titles = {row["id"]: row["title"] for row in box.world.rows("task")[:2]}
        edited, other = titles
        sync(box, ["tasks"])
        execute("create table orgx.before as select * from orgx.tasks")
        box.world.advance(hours=0.1)
        for row_id in (edited, other):
            box.world.edit("task", row_id, title="second")
        sync(box, ["tasks"])
        # As if the machine had gone after one half of the merges: the table without its history, and the reverse.
        first = query(f"select _dlt_load_id from orgx.tasks where id = '{edited}'")[0][0]
        names = ", ".join(
            row[0] for row in query("select column_name from information_schema.columns where table_name = 'before'")
        )
        execute(
            f"delete from orgx._dlt_loads where load_id >= '{first}'",
            f"delete from orgx._dlt_pipeline_state where _dlt_load_id >= '{first}'",
            f"delete from orgx.tasks_history where title = 'second' and id = '{edited}'",
            f"delete from orgx.tasks where id = '{other}'",
            f"insert into orgx.tasks ({names}) select {names} from orgx.before where id = '{other}'",
            "drop table orgx.before",
        )
        shutil.rmtree(Path("dlt"))
        # The next run meets a third title: the second one comes from what the lost load did leave.
        box.world.advance(hours=0.1)
        for row_id in (edited, other):
            box.world.edit("task", row_id, title="third")
        sync(box, ["tasks"])
        assert [title for title, _ in versions(edited)] == [titles[edited], "second", "third"]
        assert [title for title, _ in versions(other)] == [titles[other], "second", "third"]
        assert differences(box.world, tables=["tasks"]) == []
