"""Unknown values in the marts: nights without a read, and implausible timestamps."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from orgx_source.sandbox import Sandbox
from orgx_source.sync import run_sync
from tests.marts.conftest import at, empty_world, iso
from tests.running import fast_client, pipeline, query

pytestmark = pytest.mark.marts

RUNNING = {"status": "running", "run_id": "r1", "current_task": "T1", "started_at": iso("14 05:00")}


@pytest.mark.usefixtures("each_warehouse")
def test_a_gap_is_unknown_unless_the_same_run_is_seen_at_both_ends() -> None:
    world = empty_world()
    for agent_id in ("idler", "runner"):
        world.insert("agent", id=agent_id, name=agent_id, domain="product", status="idle", blockers=[], run_id=None)
    with Sandbox(world) as box:
        # A read every night, then none for a week.
        for nights in (0, 1, 1, 7):
            world.now += timedelta(days=nights)
            if world.now == at("14 06:00"):
                world.edit("agent", "runner", **RUNNING)
            client = fast_client(box)
            report = run_sync(client.config, pipeline(), tables=["agents"], client=client, clock=lambda: world.now)
            assert report.exit_code == 0, report.to_json()
    found = query("select agent_id, status, started_at, ended_at, reads from orgx_marts.agent_timeline order by 1, 3")
    assert found == [
        ("idler", "idle", at("13 06:00"), at("15 06:00"), 2),
        ("idler", "unknown", at("15 06:00"), at("22 06:00"), 0),
        ("idler", "idle", at("22 06:00"), at("22 06:00"), 1),
        ("runner", "idle", at("13 06:00"), at("14 06:00"), 1),
        ("runner", "running", at("14 06:00"), at("22 06:00"), 3),
    ]


@pytest.mark.usefixtures("each_warehouse")
def test_a_time_that_stands_for_none_makes_no_days() -> None:
    world = empty_world()
    world.insert("agent", id="maker", name="Maker", domain="product", status="idle", blockers=[], run_id=None)
    for number, told in enumerate(("1740-01-01T00:00:00.000Z", iso("12 06:00"), "2290-01-01T00:00:00.000Z")):
        times = {"created_at": told, "updated_at": told}
        made_by = {"created_by_type": "agent", "created_by_id": "maker"}
        world.insert("artifact", id=f"a{number}", name="A", status="draft", version=1, **made_by, **times)
        world.insert("decision", id=f"d{number}", title="D", status="pending", agent_id="maker", **times)
        event = {"type": "run_started", "agentId": "maker", "timestamp": told}
        world.insert("activity", id=f"e{number}", title="E", **event)
    with Sandbox(world) as box:
        client = fast_client(box)
        report = run_sync(client.config, pipeline(), client=client, clock=lambda: world.now)
        assert report.exit_code == 0, report.to_json()
    assert query("select min(created_at) from orgx.artifacts")[0][0].year == 1740
    days = "select min(day), max(day), sum(artifacts_produced), sum(decisions_asked) from orgx_marts"
    first, last = date(2026, 4, 12), world.now.date()
    # The decisions of 1740 and 2290 count as asked when they were first seen.
    assert query(f"{days}.org_daily") == [(first, last, 1, 3)]
    assert query(f"{days}.agent_throughput_daily") == [(first, last, 1, 3)]


@pytest.mark.usefixtures("each_warehouse")
def test_an_artifact_that_is_approved_when_it_is_first_seen_was_not_approved_when_it_was_made() -> None:
    world = empty_world()
    with Sandbox(world) as box:
        for night in range(2):
            if night:
                made, changed = {"created_at": iso("13 08:00")}, {"updated_at": iso("13 20:00")}
                world.insert("artifact", id="changed", name="A", status="approved", version=1, **made, **changed)
                world.insert("artifact", id="untold", name="A", status="approved", version=1, **made, updated_at=None)
                world.now += timedelta(days=1)
            client = fast_client(box)
            report = run_sync(client.config, pipeline(), tables=["artifacts"], client=client, clock=lambda: world.now)
            assert report.exit_code == 0, report.to_json()
    flow = "select artifact_id, approved_at, hours_to_approval from orgx_marts.artifact_flow order by 1"
    assert query(flow) == [("changed", at("13 20:00"), 12.0), ("untold", at("13 08:00"), 0.0)]
