"""The same tables over MCP: equal rows, the same evidence, whatever the door does meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.limits import RateBudget, RetryPolicy
from orgx_source.commands.plan import run_plan
from orgx_source.commands.status import read_status
from orgx_source.config import OrgxConfig, load_config
from orgx_source.reading.report import RunReport, TableReport
from orgx_source.sandbox import Fault, Sandbox, World
from orgx_source.sync import make_pipeline, run_sync
from tests.running import KINDS, FakeTime, query, stored, sync

pytest.importorskip("mcp")

TABLES = sorted(KINDS.keys() - {"workspaces", "agents", "activity"})
OVER_MCP = Path("mcp.duckdb")
# MCP says in this place what kind of entity a row is.
NOT_TOLD = {"tasks": {"type"}}
OURS = {"_dlt_load_id", "_row_hash", "last_changed_at", "waiting_minutes"}


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return what lets runs into a sandbox's MCP door, and nowhere else."""

    def let_in(box: Sandbox, token: str | None = None) -> None:
        monkeypatch.setenv("ORGX_MCP_URL", box.mcp_url)
        monkeypatch.setenv("ORGX_MCP_TOKEN", token or box.oauth.grant())

    yield let_in


def client_of(config: OrgxConfig) -> OrgxClient:
    fake = FakeTime()
    budget = RateBudget(max_requests=config.max_requests, max_wait=config.max_wait, clock=fake.clock, sleep=fake.sleep)
    return OrgxClient(config, budget=budget, policy=RetryPolicy(attempts=5, base_seconds=0.01))


def sync_over_mcp(tables: list[str] | None = None, database: Path = OVER_MCP, **settings: Any) -> RunReport:
    client = client_of(load_config(**settings))
    return run_sync(client.config, make_pipeline(database=database), tables=tables, client=client)


def told(table: str, database: Path) -> dict[str, dict[str, Any]]:
    hidden = OURS | NOT_TOLD.get(table, set())
    rows = stored(table, database, "deleted_at is null")
    return {row_id: {key: row[key] for key in row.keys() - hidden} for row_id, row in rows.items()}


def assert_certified(report: RunReport, *verdicts: str) -> None:
    assert report.error is None
    assert report.exit_code == 0, [table.reasons for table in report.tables.values()]
    for name, table in report.tables.items():
        assert table.note or table.verdict in (verdicts or ("certified",)), (name, table.reasons, table)


@pytest.mark.parametrize(
    "faults",
    [
        [],
        ["clamp=40", "old_catalog", "no_cursor"],
        ["json_answers", "all_workspaces"],
    ],
    ids=["as it is", "short pages of the old catalog", "in JSON, over all workspaces"],
)
def test_a_read_over_mcp_gives_the_rows_that_a_read_over_rest_gives(faults: list[str], login: Any) -> None:
    compared = ["initiatives", "decisions", "tasks", "artifacts"]
    with Sandbox(World("medium")) as box:
        assert_certified(sync(box, tables=compared))
        box.inject(*(replace(Fault.parse(text), path="/mcp") for text in faults))
        box.inject(Fault("lost_session", path="/mcp", after=9, times=1))
        login(box)
        report = sync_over_mcp(tables=compared)
        assert_certified(report)
        assert {table.route for table in report.tables.values()} == {"mcp"}
        for table in compared:
            assert told(table, OVER_MCP) == told(table, Path("x.duckdb")), table


@pytest.mark.marts
def test_without_a_key_what_mcp_serves_is_synced_and_the_rest_says_why_not(login: Any) -> None:
    with Sandbox(World("small")) as box:
        login(box)
        report = sync_over_mcp()
        assert report.requests == box.count("/mcp")
        assert (report.exit_code, set(report.tables)) == (0, {*TABLES, "workspaces", "agents", "activity"})
        status = read_status(make_pipeline(database=OVER_MCP), timedelta(hours=1))
        assert (status.exit_code, status.stale) == (0, [])
        health = dict(query("select table_name, not_open from orgx_marts.sync_health", OVER_MCP))
        for name, table in report.tables.items():
            closed = name in ("agents", "activity")
            assert table.verdict == (None if closed else "certified"), table
            assert table.note == status.tables[name].note == health[name]
            assert (table.note or "").startswith("not open to this login: MCP does not serve this") == closed
            assert (table.note is None) != closed
        asked = sync_over_mcp(tables=["agents"])
        assert (asked.exit_code, asked.tables["agents"].verdict) == (3, None)
        assert "set an API key" in (asked.tables["agents"].error or "")


def test_a_quiet_night_costs_what_plan_said_and_writes_nothing(login: Any) -> None:
    world = World("small")
    counts = {"initiative": 60, "workstream": 200, "milestone": 400, "decision": 400, "artifact": 700, "task": 617}
    for kind, count in counts.items():
        sample = world.rows(kind)
        for number in range(count - len(sample)):
            world.insert(kind, **{key: value for key, value in sample[number % len(sample)].items() if key != "id"})
    assert sum(map(world.count, counts)) == 2377
    tables = [f"{kind}s" for kind in counts]
    with Sandbox(world) as box:
        login(box)
        assert_certified(sync_over_mcp(tables))
        box.forget()
        pipeline = make_pipeline(database=OVER_MCP)
        config = load_config()
        said = run_plan(config, pipeline, tables=tables, client=client_of(config))
        assert (said.exit_code, said.requests) == (0, 30)
        box.forget()
        report = sync_over_mcp(tables)
        assert_certified(report)
        assert report.requests == box.count("/mcp") <= 30
        assert sum(t.rows_new + t.rows_changed + t.rows_deleted for t in report.tables.values()) == 0


def test_a_bound_on_requests_stops_clean_and_the_next_run_goes_on(login: Any) -> None:
    with Sandbox(World("small")) as box:
        login(box)
        report = sync_over_mcp(max_requests=10)
        assert (report.status, report.exit_code) == ("incomplete", 4)
        assert box.count("/mcp") <= 10
        assert box.requests[-1].method == "DELETE"
        assert_certified(sync_over_mcp(), "certified", "uncertified")
        assert_certified(sync_over_mcp())
        assert query("select count(*) from orgx.tasks", OVER_MCP) == [(430,)]


def grown(count: int) -> World:
    """Return a world with so many tasks, one of which was made each minute."""
    world = World("small")
    sample = world.rows("task")
    for number in range(count - len(sample)):
        world.insert("task", **{key: value for key, value in sample[number % len(sample)].items() if key != "id"})
    for number, row in enumerate(world.rows("task")):
        made = (world.now - timedelta(minutes=number)).isoformat()
        world.edit("task", row["id"], touch=False, created_at=made, updated_at=made)
    assert world.count("task") == count
    return world


def finish(box: Sandbox) -> TableReport:
    """Run until the tasks have been read to their end, which takes more than one run; return the last report."""
    for _ in range(4):
        box.mcp.limiter.limit = None
        table = sync_over_mcp(tables=["tasks"], max_requests=12).tables["tasks"]
        if table.error is None:
            assert table.resumed
            return table
        assert "the next run continues from there" in table.error
    raise AssertionError(table)


def test_a_list_longer_than_an_allowance_is_read_in_several_runs(login: Any) -> None:
    with Sandbox(grown(1200)) as box:
        login(box)
        box.world.edit("task", max(box.world.rows("task"), key=lambda row: row["created_at"])["id"], title="edited")
        table = finish(box)
        assert (table.verdict, table.exit_code) == ("uncertified", 0)
        assert "edits since then to those rows arrive with the next full read" in " ".join(table.reasons)
        assert (table.proof or "").startswith("every row was read in more than one run, the first at ")
        assert told("tasks", OVER_MCP).keys() == {row["id"] for row in box.world.rows("task")}
        # 12 pages, a tenth more where they share rows, the head twice, and what two runs ask beside pages.
        assert box.count("/mcp") <= 12 + 2 + 2 + 2 * 5
        box.forget()
        assert_certified(sync_over_mcp(tables=["tasks"]))
        assert box.count("/mcp") == 12 + 5


def test_what_happens_to_a_list_between_the_runs_that_read_it_is_found(login: Any) -> None:
    with Sandbox(grown(1200)) as box:
        login(box)
        assert sync_over_mcp(tables=["tasks"], max_requests=12).exit_code == 4
        world = box.world
        world.now += timedelta(hours=1)
        newest_first = [row["id"] for row in sorted(world.rows("task"), key=lambda row: row["created_at"])][::-1]
        for row_id in newest_first[850:950]:
            world.delete("task", row_id)
        made = [(world.now - timedelta(seconds=number)).isoformat() for number in range(130)]
        new = {world.insert("task", title="new", created_at=moment)["id"] for moment in made}
        assert finish(box).exit_code == 0
        assert new <= told("tasks", OVER_MCP).keys() == {row["id"] for row in world.rows("task")}


def test_what_went_from_the_part_that_was_read_shows_in_the_count_and_is_marked_later(login: Any) -> None:
    with Sandbox(grown(1200)) as box:
        login(box)
        assert sync_over_mcp(tables=["tasks"], max_requests=12).exit_code == 4
        box.world.delete("task", max(box.world.rows("task"), key=lambda row: row["created_at"])["id"])
        table = finish(box)
        assert (table.verdict, table.exit_code) == ("uncertified", 4)
        assert "OrgX counts 1199 rows, the warehouse 1200" in table.reasons
        # A read in several runs is not repeated to ask for a row: two of them have to miss it.
        assert "they cannot be requested by id" in " ".join(finish(box).reasons)
        assert finish(box).exit_code == 0
        assert told("tasks", OVER_MCP).keys() == {row["id"] for row in box.world.rows("task")}


def test_a_list_of_another_workspace_goes_on_where_it_stopped(login: Any) -> None:
    world = grown(1200)
    other = world.insert("workspace", name="Other")["id"]
    for number, row in enumerate(world.rows("task")):
        world.edit(
            "task", row["id"], touch=False, workspace_id=other if number % 2 else world.rows("workspace")[0]["id"]
        )
    with Sandbox(world) as box:
        login(box)
        reports = [sync_over_mcp(tables=["tasks"], max_requests=14) for _ in range(2)]
        assert [report.exit_code for report in reports] == [4, 0]
        assert_certified(reports[-1], "uncertified")
        table = reports[-1].tables["tasks"]
        # The rows of the list that was read before count as neither new nor gone.
        assert (table.resumed, table.rows_new, len(table.reasons)) == (True, 300, 1), table.reasons
        assert told("tasks", OVER_MCP).keys() == {row["id"] for row in world.rows("task")}


def test_the_limiter_counts_every_request_and_is_obeyed(login: Any) -> None:
    with Sandbox(World("small")) as box:
        box.mcp.limiter.limit, box.mcp.limiter.clock = 12, lambda: FakeTime().now
        login(box)
        report = sync_over_mcp(max_wait=0)
        assert (report.status, report.exit_code) == ("incomplete", 4)
        assert {seen.status for seen in box.requests} <= {200, 202, 204}
        assert "rate limit" in " ".join(table.error or "" for table in report.tables.values())


TROUBLES = {
    "a lost session": Fault("lost_session", after=5, times=1),
    "an exception of the transport": Fault("transport_exception", after=5, times=2),
    "a stream that is cut": Fault("cut_stream", after=5, times=2),
    "OrgX behind the door away": Fault("upstream_unavailable", after=5, times=2),
    "a proxy that fails": Fault("status_html", 502, path="/mcp", after=5, times=2),
    "a page that is none": Fault("html", path="/mcp", after=5, times=1),
    "a rate limit": Fault("rate_limited", 2, path="/mcp", after=5, times=1),
    "a connection that breaks": Fault("reset", path="/mcp", after=5, times=1),
    "strange text": Fault("strange_text", path="/mcp"),
    "numbers beyond 64 bits": Fault("big_numbers", path="/mcp"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_on_the_way_costs_no_row(trouble: str, login: Any) -> None:
    with Sandbox(World("small"), faults=[TROUBLES[trouble]]) as box:
        login(box)
        report = sync_over_mcp(tables=["milestones", "decisions"])
        assert_certified(report)
        assert stored("milestones", OVER_MCP).keys() == {row["id"] for row in box.world.rows("milestone")}


REFUSALS = {
    "a tool that fails in words": (Fault("tool_text_error"), "MCP error -32602: Tool orgx_search not found", 1),
    "a list without search": (Fault("no_search"), "does not offer the tool orgx_search", 1),
    "a door that is closed": (Fault("status", 403, path="/mcp", after=4), "403 from /mcp", 1),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_says_what_was_refused(refusal: str, login: Any) -> None:
    fault, said, code = REFUSALS[refusal]
    with Sandbox(World("small"), faults=[fault]) as box:
        login(box)
        report = sync_over_mcp(tables=["decisions"])
        assert report.exit_code == code
        errors = " ".join([report.error or "", *(table.error or "" for table in report.tables.values())])
        assert said in errors


def test_a_scope_that_was_not_granted_is_named(login: Any) -> None:
    with Sandbox(World("small")) as box:
        login(box, box.oauth.grant(["initiatives:read"]))
        report = sync_over_mcp(tables=["decisions", "initiatives"])
        assert report.exit_code == 3
        assert "lacks the scope decisions:read; log in again" in (report.tables["decisions"].error or "")
        assert report.tables["initiatives"].verdict == "certified"


def test_a_token_from_elsewhere_is_not_renewed(login: Any) -> None:
    with Sandbox(World("small")) as box:
        login(box, box.oauth.grant(seconds=-1))
        report = sync_over_mcp(tables=["decisions"])
        assert report.exit_code == 3
        assert "ORGX_MCP_TOKEN: it has expired or is invalid" in (report.error or "")


def test_a_table_can_be_pinned_to_mcp_beside_a_key(login: Any) -> None:
    with Sandbox(World("small")) as box:
        login(box)
        report = sync(box, tables=["decisions", "agents"], routes={"decisions": "mcp"})
        assert_certified(report, "certified", "uncertified")
        assert report.tables["decisions"].route == "mcp"
        assert report.tables["agents"].route == "/api/client/live/agents"


def test_mcp_is_the_last_route_where_rest_is_closed(login: Any) -> None:
    with Sandbox(World("small"), faults=[Fault("closed", 403, path="/api/entities", entity="task")]) as box:
        box.inject(Fault("closed", 403, path="/api/v1/work"))
        login(box)
        table = sync(box, tables=["tasks"]).tables["tasks"]
        assert (table.route, table.verdict) == ("mcp", "certified")
        assert len(table.closed_routes) == 2


def test_a_list_that_moves_while_it_is_read_is_read_whole(login: Any) -> None:
    def move(world: World, number: int) -> None:
        if number == 6:
            newest = sorted(world.rows("task"), key=lambda row: row["created_at"], reverse=True)
            for row in newest[:30]:
                world.delete("task", row["id"])

    with Sandbox(World("small"), faults=[Fault.drift(move, path="/mcp")]) as box:
        login(box)
        report = sync_over_mcp(tables=["tasks"])
        living = {row["id"] for row in box.world.rows("task")}
        assert living <= stored("tasks", OVER_MCP).keys()
        assert report.tables["tasks"].verdict in ("repaired", "uncertified")
        assert_certified(sync_over_mcp(tables=["tasks"]))
        assert stored("tasks", OVER_MCP, "deleted_at is null").keys() == living


def test_nothing_of_the_sdk_is_imported_where_it_is_not_used(login: Any) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from orgx_source.api.client import OrgxClient; print(sorted({'mcp', 'httpx2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
