"""Nights without a read: what an agent did then is unknown, unless one run spans them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orgx_source.sandbox import Sandbox
from orgx_source.sync import run_sync
from tests.marts.conftest import at, empty_world, iso
from tests.running import fast_client, pipeline, query

RUNNING = {"status": "running", "run_id": "r1", "current_task": "T1", "started_at": iso("14 05:00")}


@pytest.mark.usefixtures("each_warehouse")
def test_a_gap_is_unknown_unless_the_same_run_is_seen_at_both_ends() -> None:
    world = empty_world()
    for agent_id in ("idler", "runner"):
        world.insert("agent", id=agent_id, name=agent_id, domain="product", status="idle", blockers=[], run_id=None)
    with Sandbox(world) as box:
        # Every night, then none for a week.
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
