"""One workspace of several: only its rows are read, and the others' rows are left alone."""

from __future__ import annotations

from orgx_source.sandbox import Fault, Sandbox, World
from tests.running import differences, stored, sync


def homes(box: Sandbox) -> list[str]:
    return list(box.world.find("workspace"))


def named(box: Sandbox, workspace: str) -> set[str]:
    """Return the initiatives that say they belong to a workspace."""
    keys = ("workspace_id", "command_center_id")
    return {row["id"] for row in box.world.rows("initiative") if workspace in [row.get(key) for key in keys]}


def test_only_the_rows_of_the_workspace_asked_for_are_read() -> None:
    with Sandbox(World("medium")) as box:
        second = homes(box)[1]
        report = sync(box, tables=["initiatives"], workspace_id=second)
        assert report.status == "ok"
        assert stored("initiatives").keys() == named(box, second)
        asked = [seen.params for seen in box.requests if seen.params.get("type") == "initiative"]
        assert all(params["workspace_id"] == params["command_center_id"] == second for params in asked)


def test_a_server_that_ignores_the_filter_is_filtered_here() -> None:
    with Sandbox(World("medium"), faults=[Fault("ignore_workspace")]) as box:
        second = homes(box)[1]
        sync(box, tables=["initiatives"], workspace_id=second)
        keys = ("workspace_id", "command_center_id")
        nameless = {row["id"] for row in box.world.rows("initiative") if not any(row.get(key) for key in keys)}
        # Rows that name no workspace stay: leaving them out could lose them.
        assert stored("initiatives").keys() == named(box, second) | nameless


def test_a_run_over_one_workspace_never_touches_the_others_rows() -> None:
    with Sandbox(World("medium")) as box:
        first, second = homes(box)
        sync(box, tables=["initiatives", "tasks"])
        before = stored("initiatives")
        victim = next(iter(named(box, first)))
        box.world.delete("initiative", victim)
        sync(box, tables=["initiatives", "tasks"], workspace_id=second, full=True)
        assert stored("initiatives") == before
        report = sync(box, tables=["initiatives", "tasks"])
        assert report.tables["initiatives"].rows_deleted == 1
        assert differences(box.world, tables=["initiatives", "tasks"]) == []
