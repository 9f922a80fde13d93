"""The marts agree with the sandbox's own counts at every read over 120 days."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from orgx_source.cli.demo import days_of_syncs
from orgx_source.sandbox import World
from tests.running import query

pytestmark = pytest.mark.marts

MOMENTS = days_of_syncs(120)
# Deliberately duplicated: the expected groups of the sandbox's statuses.
TASK_GROUPS = {
    "todo": "todo",
    "in_progress": "in_progress",
    "blocked": "blocked",
    "done": "done",
    "archived": "dropped",
    "cancelled": "dropped",
}
TASK_COLUMNS = ("todo", "in_progress", "blocked", "done", "dropped")


def replay() -> World:
    """Simulate the same days again without reads."""
    world = World("small", start=datetime(2026, 4, 13, 6, tzinfo=UTC))
    for before, day in pairwise(MOMENTS):
        world.advance(days=day - before)
    return world


def test_the_marts_agree_with_the_truth_at_every_read(year: Path) -> None:
    world = replay()
    reads = [row[0] for row in query("select read_at from orgx_marts.stg_orgx__reads where table_name = 'tasks'", year)]
    last = max(reads)
    truths = {truth.at: truth for truth in world.truths if truth.at in reads}
    assert len(truths) == len(MOMENTS) - 1
    told = query(
        "select day, initiative_id, status, progress_pct, tasks_todo, tasks_in_progress, tasks_blocked, tasks_done, "
        "tasks_dropped from orgx_marts.initiative_progress_daily",
        year,
    )
    org = {
        row[0]: row[1:]
        for row in query(
            "select day, tasks_total, tasks_done_total, initiatives_active from orgx_marts.org_daily", year
        )
    }
    # One deleted while pending waited until the last read that saw it, inclusive.
    decisions = query(
        "select asked_at, settled_at, deleted_at is not null and status = 'pending' from orgx_marts.decision_latency",
        year,
    )
    agents = query(
        "select agent_id, started_at, ended_at, coalesce(status_raw, status) from orgx_marts.agent_timeline order by 2",
        year,
    )
    for moment, truth in truths.items():
        day = moment.date()
        expected = {}
        for row_id, (status, progress) in truth.initiatives.items():
            groups = Counter({name: 0 for name in TASK_COLUMNS})
            for task_status, count in truth.tasks.get(row_id, Counter()).items():
                groups[TASK_GROUPS[task_status]] += count
            expected[row_id] = (status, progress, *(groups[name] for name in TASK_COLUMNS))
        assert {row[1]: row[2:] for row in told if row[0] == day} == expected, day
        total = sum(sum(counts.values()) for counts in truth.tasks.values())
        done = sum(counts["done"] for counts in truth.tasks.values())
        active = sum(status in ("active", "at_risk", "blocked") for status, _ in truth.initiatives.values())
        assert org[day] == (total, done, active), day
        waiting = sum(
            asked <= moment and (settled is None or settled > moment or (vanished and settled == moment))
            for asked, settled, vanished in decisions
        )
        assert waiting == truth.decisions["pending"], day
        # Nothing is known after the last read: the interval of the state it saw ends at that read.
        seen = {
            name: status for name, began, end, status in agents if began <= moment and (moment < end or end == last)
        }
        assert seen == truth.agents, (day, set(seen.items()) ^ set(truth.agents.items()))


def test_what_changed_in_the_end_adds_up(year: Path) -> None:
    last = replay().truths[-1]
    found = query("select status, count(*) from orgx_marts.artifact_flow where deleted_at is null group by 1", year)
    assert dict(found) == dict(last.artifacts)
    found = query("select status, count(*) from orgx_marts.decision_latency where deleted_at is null group by 1", year)
    assert dict(found) == dict(last.decisions)
    # Every task that is done now and was not when first seen has a transition to done.
    lost = query(
        "select count(*) from orgx.tasks t join orgx_marts.stg_orgx__versions f on f.entity_type = 'task' "
        "and f.entity_id = t.id "
        "and f.valid_from = (select min(valid_from) from orgx.tasks_history h where h.id = t.id) "
        "where t.status = 'done' and f.status <> 'done' and t.deleted_at is null and not exists (select 1 from "
        "orgx_marts.status_transitions s where s.entity_type = 'task' and s.entity_id = t.id and s.to_group = 'done')",
        year,
    )
    assert lost == [(0,)]
