"""What a load was handed stands in the warehouse afterwards; or it is mended, or the run says so and nothing counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from unittest import mock

import pytest
from dlt.destinations.job_client_impl import SqlJobClientBase

from orgx_source.reading.report import RunReport
from orgx_source.reading.session import Stretch
from orgx_source.sandbox import Sandbox, World
from orgx_source.sync import run_sync
from tests.harm import HARM, harmed
from tests.running import differences, execute, fast_client, pipeline, query, sync


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with Sandbox(World("small")) as box:
        yield box


def run(box: Sandbox, pages: int | None = None, **settings: int) -> RunReport:
    client = fast_client(box, page_size=20, **settings)
    stretch = Stretch(pages=pages) if pages else Stretch()
    return run_sync(client.config, pipeline(), tables=["tasks"], client=client, stretch=stretch)


def no_row_twice() -> None:
    assert query("select id from orgx.tasks group by id having count(*) > 1") == []
    assert query("select id from orgx.tasks_history group by id, valid_from having count(*) > 1") == []
    assert query("select count(*) from orgx.tasks_history") == query("select count(*) from orgx.tasks")


@pytest.mark.parametrize(
    ("harm", "name", "stretch"),
    [
        ("lost", "tasks", 0), ("doubled", "tasks", 1), ("lost", "tasks_history", 2), ("changed", "tasks_history", 0),
    ],
)  # fmt: skip
def test_rows_that_a_load_lost_doubled_or_changed_are_mended_in_the_same_run(
    box: Sandbox, each_warehouse: str, harm: str, name: str, stretch: int
) -> None:
    with harmed(f"{name}:{HARM[harm]}", after=stretch) as harmed_loads:
        report = run(box, pages=9)
    assert len(harmed_loads) == 1
    assert report.exit_code == 0, report.to_json()
    assert report.tables["tasks"].verdict == "repaired"
    assert [reason for reason in report.tables["tasks"].reasons if reason.startswith(f"{name}: ")]
    no_row_twice()
    assert differences(box.world, tables=["tasks"]) == []
    again = run(box)
    assert (again.tables["tasks"].rows_changed, again.tables["tasks"].verdict) == (0, "certified")


@pytest.mark.parametrize("harm", ["lost", "doubled"])
def test_what_cannot_be_mended_is_said_and_does_not_count(box: Sandbox, each_warehouse: str, harm: str) -> None:
    with harmed(f"tasks:{HARM[harm]}", times=9):
        report = run(box)
    table = report.tables["tasks"]
    assert (report.exit_code, table.verdict) == (4, "uncertified"), report.to_json()
    assert any("the load does not count" in reason for reason in table.reasons)
    mended = run(box)
    assert mended.tables["tasks"].whole
    assert differences(box.world, tables=["tasks"]) == []
    assert query("select id from orgx.tasks group by id having count(*) > 1") == []
    assert mended.exit_code == 0, mended.to_json()


def test_after_a_stretch_that_does_not_count_the_cursor_stays(box: Sandbox, each_warehouse: str) -> None:
    run(box)
    execute("create table orgx.copies as select id, title, updated_at, _row_hash, _dlt_load_id from orgx.tasks")
    box.world.now += timedelta(hours=5)
    for row in box.world.rows("task")[:150]:
        box.world.now += timedelta(seconds=20)
        box.world.edit("task", row["id"], title=f"edited {row['id']}")
    box.world.now += timedelta(hours=5)
    back = (
        "tasks:update {table} set title = c.title, updated_at = c.updated_at, _row_hash = c._row_hash, "
        "_dlt_load_id = c._dlt_load_id from orgx.copies c where {table}.id = c.id and "
        "{table}._dlt_load_id = '{load}' and c.id in "
        "(select id from {table} where _dlt_load_id = '{load}' order by id limit 3)"
    )
    with harmed(back, times=2, after=1):
        report = run(box, pages=3)
    table = report.tables["tasks"]
    assert (report.exit_code, table.verdict) == (4, "uncertified"), report.to_json()
    assert "the load does not count" in table.reasons[0]
    box.world.now += timedelta(days=1)
    assert run(box, sample=0).exit_code == 0
    assert differences(box.world, tables=["tasks"]) == []


def test_the_log_arrives_whole_too(box: Sandbox, each_warehouse: str) -> None:
    with harmed("sync_log:delete from {table}"):
        report = run(box)
    assert query("select table_name, count(*) from orgx.sync_log group by 1") == [("tasks", 1)]
    assert [message for message in report.messages if message.startswith("sync_log: ")]
    assert report.exit_code == 0


def test_a_load_of_an_earlier_run_is_looked_at_as_well(box: Sandbox, each_warehouse: str) -> None:
    with mock.patch.object(SqlJobClientBase, "complete_load", side_effect=ConnectionError("the network is gone")):
        assert run(box).exit_code != 0
    with harmed(f"tasks:{HARM['lost']}"):
        report = run(box)
    assert [message for message in report.messages if "tasks: " in message], report.messages
    assert differences(box.world, tables=["tasks"]) == []


def test_rows_that_stand_twice_are_mended_whoever_doubled_them(box: Sandbox, each_warehouse: str) -> None:
    sync(box, ["tasks", "activity", "agents"])
    for name in ("tasks", "tasks_history", "activity", "agents"):
        execute(f"insert into orgx.{name} select * from orgx.{name} limit 50")
    report = sync(box, ["tasks", "activity", "agents"], full=True)
    assert report.exit_code == 0, report.to_json()
    assert {name: table.verdict for name, table in report.tables.items()} == {
        "tasks": "repaired", "activity": "repaired", "agents": "repaired",
    }  # fmt: skip
    no_row_twice()
    assert query("select id from orgx.activity group by id having count(*) > 1") == []
    assert differences(box.world, tables=["tasks", "activity", "agents"]) == []
    assert {table.verdict for table in sync(box, ["tasks", "activity", "agents"]).tables.values()} == {"certified"}


def test_of_copies_that_differ_the_newest_stays(box: Sandbox, each_warehouse: str) -> None:
    sync(box, ["tasks"])
    execute(
        "create table orgx.copies as select * from orgx.tasks limit 5",
        "update orgx.copies set title = 'an older copy', _row_hash = '0123456789abcdef', "
        "last_changed_at = last_changed_at - interval '1 day'",
        "insert into orgx.tasks select * from orgx.copies",
    )
    report = sync(box, ["tasks"])
    assert report.tables["tasks"].verdict == "repaired", report.to_json()
    assert report.tables["tasks"].rows_changed == 0
    no_row_twice()
    assert differences(box.world, tables=["tasks"]) == []


def test_a_load_that_a_killed_run_did_not_get_to_look_at_is_looked_at_by_the_next(
    box: Sandbox, each_warehouse: str
) -> None:
    with (
        harmed(f"tasks_history:{HARM['lost']}"),
        mock.patch("orgx_source.sync.Arrival.shortfalls", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        run(box)
    report = run(box)
    assert [message for message in report.messages if "tasks_history: " in message], report.to_json()
    no_row_twice()
    assert query("select count(*) from orgx.tasks_history") == query("select count(*) from orgx.tasks")


def test_packages_that_arrived_are_thrown_away(box: Sandbox, each_warehouse: str) -> None:
    run(box)
    assert pipeline().list_completed_load_packages() == []
