"""One workspace of several: only its rows are read, and the others' rows are left alone."""

from __future__ import annotations

import pytest

from orgx_source.commands.check import run_check
from orgx_source.commands.plan import run_plan
from orgx_source.commands.verify import run_verify
from orgx_source.sandbox import Fault, Sandbox, World
from tests.running import differences, fast_client, pipeline, query, stored, sync


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


def test_a_workspace_that_the_key_does_not_see_stops_everything_before_a_table_is_read() -> None:
    foreign = "99999999-9999-4999-8999-999999999999"
    with Sandbox(World("medium")) as box:
        found = pipeline()
        for report in (
            sync(box, workspace_id=foreign),
            run_check(fast_client(box, workspace_id=foreign).config, found),
            run_plan(fast_client(box, workspace_id=foreign).config, found),
            run_verify(fast_client(box, workspace_id=foreign).config, found),
        ):
            assert (report.exit_code, report.tables) == (3, {})
            assert all(f"({home})" in str(report.error) for home in homes(box))
        assert {seen.params.get("type", "") for seen in box.requests} == {"", "command_center"}


@pytest.mark.usefixtures("each_warehouse")
@pytest.mark.marts
def test_keys_of_two_workspaces_fill_one_warehouse_without_touching_each_others_rows() -> None:
    tables = ["workspaces", "initiatives", "agents", "artifacts", "decisions"]
    with Sandbox(World("small", seed=1)) as one, Sandbox(World("small", seed=2), api_key="oxk_of_another") as other:
        first, second = homes(one)[0], homes(other)[0]
        assert sync(one, tables).exit_code == 0
        before = {table: stored(table) for table in tables}
        for box in (other, one, other):
            report = sync(box, tables)
            assert report.exit_code == 0, [table.reasons for table in report.tables.values()]
            written = [(table.rows_changed, table.rows_deleted) for table in report.tables.values()]
            assert written == [(0, 0)] * len(tables)
        slugs = set(one.world.find("agent"))
        assert stored("agents").keys() == slugs | {f"{second}/{slug}" for slug in slugs}
        assert all(stored(table).items() >= before[table].items() for table in tables)
        verified = run_verify(fast_client(other).config, pipeline(), tables=tables)
        assert {name: table.exit_code for name, table in verified.tables.items()} == dict.fromkeys(tables, 0)
        assert query("select count(*) from orgx_marts.stg_orgx__agents where is_alias") == [(2,)]
        # Work is its own workspace's agents', though it names no more than a slug.
        for table, key in (("artifacts", "artifact_id"), ("decisions", "decision_id")):
            owned = (
                f"select count(*) from orgx_marts.stg_orgx__{table} as mart join orgx.{table} as t on t.id = {key} "
                "where mart.agent_id like '%-agent' and coalesce(t.workspace_id, t.command_center_id) = '{}' {}"
            )
            assert query(owned.format(first, "and mart.agent_id like '%/%'")) == [(0,)]
            theirs = query(owned.format(second, f"and mart.agent_id like '{second}/%'"))
            assert theirs == query(owned.format(second, "")) != [(0,)]
