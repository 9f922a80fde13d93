"""Every mart on an organisation with results counted by hand, on DuckDB and PostgreSQL."""

from __future__ import annotations

from datetime import date

import pytest

from tests.marts.conftest import Ask, at

pytestmark = pytest.mark.marts


def april(day: int) -> date:
    return date(2026, 4, day)


def test_initiatives_are_what_they_are_now(ask: Ask) -> None:
    found = ask(
        "select initiative_id, status, status_group, progress_pct, progress_raw, age_days, last_movement_at, "
        "days_since_movement, last_activity_at, is_overdue, due_on, as_of "
        "from orgx_marts.initiatives_current order by 1"
    )
    assert found == [
        # Alpha is completed, so it is not overdue although its due date has passed.
        ("alpha", "completed", "completed", 100.0, 100.0, 15.0, at("14 12:00"), 1.75, at("12 05:30"), False, april(14),
         at("16 06:00")),
        # 0.25 is a share, so 25 %. Its last movement is a task created 22 hours ago.
        ("beta", "at_risk", "blocked", 25.0, 0.25, 5.0, at("15 08:00"), pytest.approx(22 / 24), None, False, None,
         at("16 06:00")),
        # A 1 stays 1, because the initiative is not completed.
        ("gamma", "archived", "closed", 1.0, 1.0, 14.0, at("02 06:00"), 14.0, None, False, None, at("16 06:00")),
    ]  # fmt: skip


def test_initiatives_count_what_is_below_them(ask: Ask) -> None:
    found = ask(
        "select initiative_id, tasks_total, tasks_todo, tasks_in_progress, tasks_blocked, tasks_done, tasks_dropped, "
        "tasks_done_pct, decisions_total, decisions_pending, oldest_pending_hours, artifacts_total, artifacts_approved "
        "from orgx_marts.initiatives_current order by 1"
    )
    assert found == [
        # T3 was deleted; T5 was dropped and is excluded from the percentage.
        ("alpha", 4, 0, 1, 0, 2, 1, pytest.approx(200 / 3), 1, 0, None, 1, 1),
        ("beta", 2, 2, 0, 0, 0, 0, 0.0, 0, 0, None, 0, 0),
        ("gamma", 0, 0, 0, 0, 0, 0, None, 0, 0, None, 0, 0),
    ]


def test_progress_is_told_day_by_day_from_the_first_read(ask: Ask) -> None:
    found = ask(
        "select day, status, progress_pct, tasks_total, tasks_in_progress, tasks_blocked, tasks_done, tasks_done_pct, "
        "last_read_at from orgx_marts.initiative_progress_daily where initiative_id = 'alpha' order by day"
    )
    assert found == [
        (april(13), "active", 40.0, 5, 1, 1, 1, 25.0, at("13 06:00")),
        (april(14), "active", 40.0, 5, 1, 1, 2, 50.0, at("14 06:00")),
        (april(15), "completed", 100.0, 4, 1, 0, 2, pytest.approx(200 / 3), at("15 06:00")),
        (april(16), "completed", 100.0, 4, 1, 0, 2, pytest.approx(200 / 3), at("16 06:00")),
    ]


def test_transitions_lie_between_two_reads(ask: Ask) -> None:
    found = ask(
        "select entity_id, kind, from_status, to_status, changed_after, changed_before, changed_at, "
        "hours_in_from_status from orgx_marts.status_transitions order by entity_id, changed_before"
    )
    first, second, third, fourth = at("13 06:00"), at("14 06:00"), at("15 06:00"), at("16 06:00")
    assert found == [
        ("a1", "changed", "draft", "in_review", first, second, at("13 22:00"), None),
        ("a1", "changed", "in_review", "approved", second, third, at("14 10:00"), 12.0),
        ("alpha", "changed", "active", "completed", second, third, at("14 12:00"), None),
        ("d1", "changed", "pending", "approved", first, second, at("13 20:00"), None),
        ("d4", "deleted", "pending", "pending", second, third, None, None),
        ("t1", "changed", "todo", "in_progress", first, second, at("13 18:00"), None),
        ("t2", "changed", "in_progress", "done", first, second, at("14 00:00"), None),
        ("t3", "deleted", "blocked", "blocked", second, third, None, None),
        ("t7", "created", None, "todo", third, fourth, at("15 08:00"), None),
    ]


def test_agents_get_done_what_they_did(ask: Ask) -> None:
    found = ask(
        "select agent_id, day, runs_started, runs_completed, runs_failed, median_run_hours, run_count, tasks_done, "
        "artifacts_produced, artifacts_approved, decisions_asked, cost_usd from orgx_marts.agent_throughput_daily "
        "where runs_started + artifacts_produced + decisions_asked > 0 or tasks_done + artifacts_approved > 0 "
        "order by agent_id, day"
    )
    assert found == [
        # Changes of tasks and artifacts before the first read are unknown.
        ("engineering-agent", april(10), 0, 0, 0, None, 0, None, 1, None, 0, None),
        ("engineering-agent", april(12), 1, 1, 0, 2.0, 1, None, 0, None, 0, 0.5),
        ("engineering-agent", april(13), 0, 0, 0, None, 0, 0, 0, 0, 1, None),
        ("engineering-agent", april(14), 0, 0, 0, None, 0, 1, 0, 0, 0, None),
        # Includes the alias product-onboarding, and the decision that names only Pace.
        ("product-agent", april(12), 1, 0, 1, 0.5, 1, None, 1, None, 1, 0.25),
        ("product-agent", april(14), 0, 0, 0, None, 0, 0, 0, 1, 0, None),
    ]
    # Two agents, every day from the first timestamp to the last read, including days without work.
    assert ask("select count(*), min(day), max(day) from orgx_marts.agent_throughput_daily") == [
        (14, april(10), april(16))
    ]


def test_agents_are_seen_at_the_reads_only(ask: Ask) -> None:
    found = ask(
        "select agent_id, status, run_id, started_at, ended_at, hours, reads "
        "from orgx_marts.agent_timeline order by 1, 4"
    )
    assert found == [
        ("engineering-agent", "idle", None, at("13 06:00"), at("14 06:00"), 24.0, 1),
        ("engineering-agent", "running", "r3", at("14 06:00"), at("16 06:00"), 48.0, 3),
        ("product-agent", "idle", None, at("13 06:00"), at("16 06:00"), 72.0, 3),
        # A running agent with a blocker counts as blocked. Nothing is known after the last read.
        ("product-agent", "blocked", None, at("16 06:00"), at("16 06:00"), 0.0, 1),
        ("product-onboarding", "idle", None, at("13 06:00"), at("16 06:00"), 72.0, 4),
    ]


def test_decisions_wait_as_long_as_they_waited(ask: Ask) -> None:
    found = ask(
        "select decision_id, asked_at, settled_at, is_settled_exact, hours_waiting, outcome, urgency, urgency_raw, "
        "agent_id, blocked_task_title, is_open from orgx_marts.decision_latency order by 1"
    )
    assert found == [
        ("d1", at("13 00:00"), at("13 20:00"), True, 20.0, "approved", "critical", "critical", "engineering-agent",
         "T3", False),
        ("d2", at("12 00:00"), at("12 06:00"), True, 6.0, "approved", "low", "low", "product-agent", None, False),
        # The older status rejected, without a time of the answer: the last change of the row is used.
        ("d3", at("11 00:00"), at("11 12:00"), False, 12.0, "declined", "high", "urgent", None, None, False),
        # Deleted while pending: it waited until the last read that saw it.
        ("d4", at("12 18:00"), at("14 06:00"), False, 36.0, "cancelled", "medium", None, None, None, False),
    ]  # fmt: skip


def test_artifacts_flow_to_approval(ask: Ask) -> None:
    found = ask(
        "select artifact_id, made_by, agent_id, status, is_approved, first_review_at, approved_at, revisions, "
        "hours_in_review, hours_to_approval from orgx_marts.artifact_flow order by 1"
    )
    assert found == [
        ("a1", "agent", "product-agent", "approved", True, at("13 22:00"), at("14 10:00"), 0, 12.0, 52.0),
        # In review before the first read: counted from the first read to the last.
        ("a2", "human", None, "in_review", False, None, None, 2, 72.0, None),
        # Approved before the first read, at an unknown time.
        ("a3", "agent", "engineering-agent", "approved", True, None, None, 0, None, None),
    ]


def test_a_day_of_the_organisation_is_one_line(ask: Ask) -> None:
    found = ask(
        "select day, initiatives_active, tasks_total, tasks_done_total, tasks_done, runs_started, runs_completed, "
        "runs_failed, artifacts_produced, artifacts_approved, decisions_asked, decisions_settled, decisions_open, "
        "median_decision_hours, cost_usd, reads from orgx_marts.org_daily order by day"
    )
    assert found == [
        (april(10), None, None, None, None, 0, 0, 0, 1, None, 0, 0, 0, None, None, 0),
        (april(11), None, None, None, None, 0, 0, 0, 0, None, 1, 1, 0, 12.0, None, 0),
        (april(12), None, None, None, None, 2, 1, 1, 2, None, 2, 1, 1, 6.0, 0.75, 0),
        (april(13), 2, 6, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 20.0, None, 1),
        (april(14), 2, 6, 2, 1, 0, 0, 0, 0, 1, 0, 1, 0, 36.0, None, 1),
        (april(15), 1, 5, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None, 1),
        (april(16), 1, 6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None, 1),
    ]


def test_the_health_of_the_sync_is_what_the_log_says(ask: Ask) -> None:
    found = ask(
        "select table_name, last_read_at, hours_since_read, last_verdict, last_error, rows_living, rows_deleted, "
        "rows_changed, runs, runs_failed, runs_certified, requests_last_run, lateness_count, lateness_minutes_p50 "
        "from orgx_marts.sync_health where table_name in ('tasks', 'decisions', 'activity') order by 1"
    )
    last = at("16 06:00")
    assert found == [
        ("activity", last, 0.0, "certified", None, 4, 0, 0, 4, 0, 4, 1, 0, None),
        # d1 was settled ten hours before the read that saw it.
        ("decisions", last, 0.0, "certified", None, 3, 1, 1, 4, 0, 4, 1, 1, 600.0),
        # T1 12 h, T2 6 h, T7 22 h.
        ("tasks", last, 0.0, "certified", None, 6, 1, 2, 4, 0, 4, 1, 3, 720.0),
    ]


# Two ways to count the same; they agree for any organisation.
IDENTITIES = {
    "tasks of an initiative are the sum of their groups": (
        "select count(*) from orgx_marts.initiatives_current "
        "where tasks_total <> tasks_todo + tasks_in_progress + tasks_blocked + tasks_done + tasks_dropped"
    ),
    "tasks of a day are the sum of their groups": (
        "select count(*) from orgx_marts.initiative_progress_daily "
        "where tasks_total <> tasks_todo + tasks_in_progress + tasks_blocked + tasks_done + tasks_dropped"
    ),
    "the last day is now": (
        "select count(*) from orgx_marts.initiative_progress_daily d join orgx_marts.initiatives_current c "
        "on d.initiative_id = c.initiative_id "
        "where d.day = (select max(day) from orgx_marts.initiative_progress_daily) "
        "and (d.tasks_total <> c.tasks_total or d.tasks_done <> c.tasks_done or d.status <> c.status "
        "or d.progress_pct is distinct from c.progress_pct)"
    ),
    "every living initiative stands in the last day": (
        "select (select count(*) from orgx_marts.initiatives_current) - (select count(*) from "
        "orgx_marts.initiative_progress_daily where day = (select max(day) from orgx_marts.org_daily))"
    ),
    "open and settled decisions are all": (
        "select (select count(*) from orgx.decisions) - (select count(*) filter (where is_open) + count(*) "
        "filter (where settled_at is not null) from orgx_marts.decision_latency)"
    ),
    "every open decision needs attention": (
        "select (select count(*) from orgx_marts.needs_attention where kind = 'decision') - "
        "(select count(*) from orgx_marts.decision_latency where is_open)"
    ),
    "decisions asked less settled are open": (
        "select (select decisions_open from orgx_marts.org_daily order by day desc limit 1) - "
        "(select count(*) from orgx_marts.decision_latency where is_open)"
    ),
    "days sum up to all artifacts of agents": (
        "select (select sum(artifacts_produced) from orgx_marts.agent_throughput_daily) - "
        "(select count(*) from orgx.artifacts where created_by_type = 'agent')"
    ),
    "days sum up to all runs": (
        "select (select sum(runs_started) from orgx_marts.agent_throughput_daily) - "
        "(select count(*) from orgx.activity where type = 'run_started')"
    ),
    "days sum up to all artifacts and decisions": (
        "select (select sum(artifacts_produced) from orgx_marts.org_daily) - (select count(*) from orgx.artifacts) + "
        "(select sum(decisions_asked) from orgx_marts.org_daily) - (select count(*) from orgx.decisions)"
    ),
    "agents and all tasks agree on what was done": (
        "select (select coalesce(sum(tasks_done), 0) from orgx_marts.org_daily) - "
        "(select count(*) from orgx_marts.status_transitions where entity_type = 'task' and to_group = 'done' "
        "and kind in ('changed', 'created') and from_group is distinct from to_group)"
    ),
    "every artifact flows once": (
        "select (select count(*) from orgx_marts.artifact_flow) - (select count(*) from orgx.artifacts)"
    ),
    "intervals of an agent meet without a gap": (
        "select count(*) from (select ended_at, lead(started_at) over (partition by agent_id order by started_at) as "
        "next_at from orgx_marts.agent_timeline) t where next_at <> ended_at"
    ),
    "every transition has a version before or a read before": (
        "select count(*) from orgx_marts.status_transitions where changed_after >= changed_before "
        "or (kind = 'changed' and from_status is not distinct from to_status)"
    ),
    "every table that was asked for has its health": (
        "select (select count(distinct table_name) from orgx.sync_log) - (select count(*) from orgx_marts.sync_health)"
    ),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_two_ways_to_count_agree(ask: Ask, name: str) -> None:
    assert [int(value) for value in ask(IDENTITIES[name])[0]] == [0]
