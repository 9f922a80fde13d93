"""What is marked as deleted is gone; what cannot be proved to be gone is left alone, aloud."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orgx_source.sandbox import Fault, Sandbox, World
from tests.running import differences, query, sync

pytestmark = pytest.mark.usefixtures("each_warehouse")


def deleted(table: str) -> int:
    return int(query(f"select count(deleted_at) from orgx.{table}")[0][0])


def test_an_agent_that_is_gone_is_marked_after_a_second_look() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["agents"])
        box.world.delete("agent", next(iter(box.world.find("agent"))))
        assert sync(box, ["agents"]).status == "ok"
        assert deleted("agents") == 1
        assert differences(box.world, tables=["agents"]) == []


def test_an_implausible_share_is_believed_only_when_the_next_run_agrees() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        gone = list(box.world.find("task"))[: box.world.count("task") // 2]
        for row_id in gone:
            box.world.delete("task", row_id)
        report = sync(box, ["tasks"])
        assert report.exit_code == 4
        assert "disappeared at once" in " ".join(report.tables["tasks"].reasons)
        assert deleted("tasks") == 0
        assert sync(box, ["tasks"]).status == "ok"
        assert deleted("tasks") == len(gone)
        assert differences(box.world, tables=["tasks"]) == []


def test_a_list_that_is_empty_once_deletes_nothing() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["initiatives"])
        rows = box.world.rows("initiative")
        for row in rows:
            box.world.delete("initiative", row["id"])
        assert len(rows) < 20
        sync(box, ["initiatives"])
        assert deleted("initiatives") == 0
        for row in rows:
            box.world.insert("initiative", **row)
        assert sync(box, ["initiatives"]).status == "ok"
        assert deleted("initiatives") == 0


def test_a_row_that_returns_as_it_was_lives_again() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        task = box.world.rows("task")[3]
        box.world.delete("task", task["id"])
        sync(box, ["tasks"])
        assert deleted("tasks") == 1
        box.world.insert("task", **task)
        assert sync(box, ["tasks"]).status == "ok"
        assert deleted("tasks") == 0
        assert differences(box.world, tables=["tasks"]) == []


def test_where_a_server_ignores_ids_a_second_read_is_the_witness() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        box.world.delete("task", next(iter(box.world.find("task"))))
        box.inject(Fault("ignore_ids"))
        once = sync(box, ["tasks"]).tables["tasks"]
        assert (once.rows_deleted, once.verdict, once.exit_code) == (1, "certified", 0)
        assert deleted("tasks") == 1


@pytest.mark.parametrize("fault", [Fault("ignore_ids"), Fault("refuse", "ids")])
def test_many_rows_that_two_reads_of_one_run_lack_are_not_gone_if_ids_are_not_answered(fault: Fault) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["decisions"])
        # No replica lags by so much.
        box.world.now += timedelta(days=1)
        # 15 of 40 rows, which the list, its total and its second read all lack.
        box.inject(fault, Fault("hidden"))
        report = sync(box, ["decisions"], full=True)
        assert report.exit_code == 4
        assert "they cannot be requested by id" in " ".join(report.tables["decisions"].reasons)
        assert deleted("decisions") == 0
        box.heal()
        assert sync(box, ["decisions"]).status == "ok"
        assert differences(box.world, tables=["decisions"]) == []


def test_a_run_over_one_workspace_leaves_the_others_alone_and_finds_its_own_deletions() -> None:
    with Sandbox(World("medium")) as box:
        sync(box, ["tasks"])
        mine, theirs = (row["id"] for row in box.world.rows("workspace"))
        tasks = box.world.rows("task")
        for workspace in (mine, theirs):
            box.world.delete("task", next(row["id"] for row in tasks if row["workspace_id"] == workspace))
        # The first run with the filter reads in full; what it may mark is the workspace's own.
        sync(box, ["tasks"], workspace_id=mine)
        assert query("select workspace_id from orgx.tasks where deleted_at is not null") == [(mine,)]
        assert sync(box, ["tasks"]).status == "ok"
        assert differences(box.world, tables=["tasks"]) == []


def test_rows_of_a_workspace_that_the_key_no_longer_sees_stay() -> None:
    with Sandbox(World("medium")) as box:
        sync(box, ["workspaces", "tasks"])
        hidden = box.world.rows("workspace")[1]["id"]
        for kind in ("workspace", "task"):
            for row in box.world.rows(kind):
                if hidden in (row["id"], row.get("workspace_id")):
                    box.world.delete(kind, row["id"])
        for _ in range(2):
            report = sync(box, ["tasks"])
        assert deleted("tasks") == 0
        assert "not visible to this run" in " ".join(report.tables["tasks"].reasons)


def test_rows_that_are_missing_from_the_list_but_answer_to_their_ids_are_not_gone() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks", "milestones", "artifacts"])
        box.inject(Fault("hidden"))
        for _ in range(2):
            assert sync(box, ["tasks", "milestones", "artifacts"], full=True).exit_code == 4
        assert sum(map(deleted, ("tasks", "milestones", "artifacts"))) == 0
        box.heal()
        assert sync(box, ["tasks", "milestones", "artifacts"]).status == "ok"
        assert differences(box.world, tables=["tasks", "milestones", "artifacts"]) == []
