"""What somebody drops from the warehouse is recreated by the next run, which says so."""

from __future__ import annotations

import os
import shutil

import pytest

from orgx_source.sandbox import Sandbox, World
from tests.running import differences, execute, query, sync

pytestmark = pytest.mark.usefixtures("each_warehouse")


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["drop table orgx.tasks cascade"], "tasks was missing from the warehouse and was recreated"),
        (["drop table orgx.tasks_history cascade"], "tasks_history was missing from the warehouse and was recreated"),
        (
            ["alter table orgx.tasks drop column title cascade"],
            "tasks had missing columns (title), which were recreated",
        ),
        (["drop table orgx.sync_log cascade"], "sync_log was missing from the warehouse and was recreated"),
    ],
    ids=["table", "history", "column", "log"],
)
def test_what_was_dropped_is_there_again_and_no_version_stands_twice(statements: list[str], message: str) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        execute(*statements)
        report = sync(box, ["tasks"])
        assert message in report.messages
        assert report.exit_code == 0, report.to_json()
        assert differences(box.world, tables=["tasks"]) == []
        assert query("select count(*) from orgx.tasks_history") == [(box.world.count("task"),)]
        assert query("select count(*) > 0 from orgx.sync_log") == [(True,)]
        quiet = sync(box, ["tasks"])
        assert (quiet.messages, quiet.tables["tasks"].rows_changed) == ([], 0)


@pytest.mark.parametrize(
    ("column", "kind", "as_loaded"),
    [
        ("updated_at", "varchar", "timestamp with time zone"),
        ("last_changed_at", "varchar", "timestamp with time zone"),
        ("created_at", "integer", "timestamp with time zone"),
        ("_row_hash", "integer", "varchar"),
        ("id", "integer", "varchar"),
    ],
)
def test_a_column_that_someone_gave_another_type_is_named_with_its_cure(
    column: str, kind: str, as_loaded: str, each_warehouse: str
) -> None:
    using = {"varchar": f"{column}::varchar", "integer": "7"}[kind]
    with Sandbox(World("small")) as box:
        sync(box, ["tasks", "decisions"])
        execute(f"alter table orgx.tasks alter column {column} type {kind} using {using}")
        report = sync(box, ["tasks", "decisions"])
        assert (report.exit_code, report.tables["decisions"].verdict) == (1, "certified")
        error = report.tables["tasks"].error or ""
        assert error.startswith(f"The column {column} of tasks has the type ")
        assert f"Restore the type that it was loaded with ({as_loaded})" in error
        # The cure that it names.
        execute("drop table orgx.tasks cascade")
        assert sync(box, ["tasks", "decisions"]).exit_code == 0
        assert differences(box.world, tables=["tasks", "decisions"]) == []


@pytest.mark.parametrize("row_hash", ["null", "'made up'"])
def test_a_row_that_someone_inserted_or_changed_without_its_hash_stops_no_run(row_hash: str) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        gone = next(iter(box.world.find("task")))
        execute(
            "insert into orgx.tasks (id, title, _dlt_load_id, last_changed_at, _row_hash) "
            f"select 'by hand', 'by hand', _dlt_load_id, last_changed_at, {row_hash} from orgx.tasks limit 1",
            f"update orgx.tasks set _row_hash = {row_hash} where id = '{gone}'",
        )
        box.world.delete("task", gone)
        report = sync(box, ["tasks"])
        assert report.exit_code == 0, report.to_json()
        assert differences(box.world, tables=["tasks"]) == []
        assert report.tables["tasks"].rows_deleted == 2
        assert sync(box, ["tasks"]).tables["tasks"].verdict == "certified"


def test_a_load_of_the_future_does_not_hold_up_new_machines() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        sync(box, ["tasks"])
        ahead = "4097906582.050683"
        last = "(select max(_dlt_load_id) from orgx._dlt_pipeline_state)"
        execute(
            f"update orgx._dlt_loads set load_id = '{ahead}' where load_id = {last}",
            f"update orgx._dlt_pipeline_state set _dlt_load_id = '{ahead}' where _dlt_load_id = {last}",
        )
        for row in box.world.rows("task")[:200]:
            box.world.delete("task", row["id"])
        reports = []
        for _ in range(3):
            shutil.rmtree(os.environ["DLT_DATA_DIR"])
            reports.append(sync(box, ["tasks"]))
        assert f"loads dated in the future by a wrong clock no longer count: {ahead}" in reports[0].messages
        # More than 30 % at once: the second run confirms it, if it knows of the first.
        assert [report.exit_code for report in reports] == [4, 0, 0]
        assert reports[2].messages == []
        assert differences(box.world, tables=["tasks"]) == []
