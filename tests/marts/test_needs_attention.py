"""The mart needs_attention on a small handwritten organisation, on DuckDB and PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

from orgx_source.warehouse.dialect import DUCKDB_FILE, Postgres
from tests.marts.test_times_in_doubt import insert, tables
from tests.running import execute, query

pytestmark = pytest.mark.marts

NOW = "2026-04-13 06:00:00+00"
BEFORE = "2026-04-12 06:00:00+00"
DAY_BEFORE_YESTERDAY = "2026-04-11 06:00:00+00"


def found(kind: str, columns: str) -> list[tuple[Any, ...]]:
    return query(
        f"select {columns} from orgx_marts.needs_attention where kind = '{kind}' "
        "order by urgency_rank desc, since, entity_id"
    )


@pytest.fixture(autouse=True)
def _organisation(each_warehouse: str) -> None:
    times = {"created_at": DAY_BEFORE_YESTERDAY, "updated_at": BEFORE, "last_changed_at": NOW}
    alpha = {"initiative_id": "alpha", **times}
    done_with = {"initiative_id": "beta", **times}
    agent = {"last_changed_at": NOW, "domain": "product"}
    execute(
        *tables(DUCKDB_FILE if each_warehouse == "duckdb" else Postgres()),
        insert("sync_log", table_name="agents", run_id="r", started_at=NOW, finished_at=NOW, verdict="certified"),
        insert("sync_log", table_name="tasks", run_id="r", started_at=NOW, finished_at=NOW, verdict="certified"),
        insert(
            "initiatives", id="alpha", title="Alpha", status="at_risk", target_date="2026-04-12", priority="urgent",
            **times,
        ),
        insert("initiatives", id="beta", title="Beta", status="completed", target_date="2026-04-01", **times),
        insert("initiatives", id="gamma", title="Gamma", status="blocked", live_url="https://orgx.test/gamma", **times),
        insert("workstreams", id="w1", name="W1", status="blocked", blockers='["no access", "no key"]', **alpha),
        insert("workstreams", id="w2", name="W2", status="active", blockers='["once"]', **alpha),
        insert("milestones", id="m1", title="M1", status="at_risk", due_date="2026-04-10", **alpha),
        insert("milestones", id="m2", title="M2", status="completed", due_date="2026-04-10", **alpha),
        insert("tasks", id="t1", title="T1", status="todo", due_date="2026-04-12", priority="high", **alpha),
        insert("tasks", id="t2", title="T2", status="in_progress", due_date="2026-04-13", **alpha),
        insert(
            "tasks", id="t3", title="T3", status="blocked", due_date="2026-04-11", depends_on='["t1", "t4"]',
            assigned_agent="eli", live_url="https://orgx.test/t3", **alpha,
        ),
        insert("tasks", id="t4", title="T4", status="done", due_date="2026-04-10", **alpha),
        insert("tasks", id="t5", title="T5", status="blocked", due_date="2026-04-10", **done_with),
        insert("tasks", id="t6", title="T6", status="blocked", **times),
        insert("tasks", id="t7", title="T7", status="blocked", deleted_at=NOW, **alpha),
        insert("agents", id="eli", name="Eli", status="idle", blockers="[]", **agent),
        insert(
            "agents", id="dana", name="Dana", status="running", blockers='["no copy"]', initiative_id="alpha", **agent
        ),
        insert("agents", id="mark", name="Mark", status="running", current_task="T2", started_at=BEFORE, **agent),
        insert("agents", id="sage", name="Sage", status="running", started_at="2026-04-13 05:00:00+00", **agent),
        insert("agents", id="pace", name="Pace", status="blocked", deleted_at=NOW, **agent),
        insert(
            "decisions", id="d1", title="Go?", status="pending", urgency="high", task_id="t3", blocks_task="true",
            agent_id="eli", agent_name="Eli", **alpha,
        ),
        insert("decisions", id="d2", title="Stop?", status="pending", urgency="critical", due_at=BEFORE, **times),
        insert("decisions", id="d3", title="Old?", status="approved", urgency="critical", **times),
        insert("decisions", id="d4", title="Beta?", status="pending", urgency="high", initiative_id="beta",
               created_at="2026-04-10 06:00:00+00", last_changed_at=NOW),
        insert(
            "artifacts", id="a1", entity_type="decision", entity_id="d1", artifact_url="https://files.test/1", **times
        ),
        insert("artifacts", id="a2", entity_type="decision", entity_id="d1", external_url="https://files.test/2",
               created_at=BEFORE, last_changed_at=NOW),
        insert("artifacts", id="a3", entity_type="decision", entity_id="d1", artifact_url="https://files.test/3",
               created_at=NOW, last_changed_at=NOW, deleted_at=NOW),
    )  # fmt: skip


def test_waiting_decisions_come_critical_and_oldest_first() -> None:
    columns = "entity_id, urgency, hours, agent_name, reason, initiative_title, artifact_url, open_total"
    assert found("decision", columns) == [
        ("d2", "critical", 48.0, None, None, None, None, 3),
        ("d4", "high", 72.0, None, None, "Beta", None, 3),
        ("d1", "high", 48.0, "Eli", "task: T3", "Alpha", "https://files.test/2", 3),
    ]


def test_open_work_is_late_from_the_day_after_it_was_due() -> None:
    # T1, T2, T3 and T6 are the open tasks: T5 belongs to a completed initiative.
    assert found("past_due", "entity_type, entity_id, urgency, hours, agent_name, live_url, open_total") == [
        ("initiative", "alpha", "high", 6.0, None, None, 2),
        ("task", "t1", "high", 6.0, None, None, 4),
        ("milestone", "m1", "medium", 54.0, None, None, 1),
        ("task", "t3", "medium", 30.0, "Eli", "https://orgx.test/t3", 4),
    ]


def test_blocked_work_names_what_blocks_it() -> None:
    assert found("blocked", "entity_type, entity_id, hours, reason, live_url, open_total") == [
        ("initiative", "gamma", 24.0, None, "https://orgx.test/gamma", 2),
        # T4 is done, so only T1 and a decision block T3.
        ("task", "t3", 24.0, "decision: Go?; task: T1", "https://orgx.test/t3", 4),
        ("task", "t6", 24.0, None, None, 4),
        ("workstream", "w1", 24.0, "no access", None, 2),
    ]


def test_an_agent_is_stuck_that_is_blocked_or_on_one_run_for_a_day() -> None:
    assert sorted(found("agent", "entity_id, hours, reason, initiative_title, open_total")) == [
        ("dana", None, "no copy", "Alpha", 4),
        ("mark", 24.0, "task: T2", None, 4),
    ]


def test_nothing_is_named_twice_under_one_kind() -> None:
    key = "kind, entity_type, entity_id"
    assert query(f"select {key} from orgx_marts.needs_attention group by {key} having count(*) > 1") == []
