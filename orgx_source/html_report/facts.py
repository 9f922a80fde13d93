"""Reads the rows of the marts that the report needs, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from orgx_source.marts.reading import MartsReader, Row

DAYS_SHOWN = 180
MAX_DECISIONS = 2_000
MAX_WAITING = 20_000
MAX_ARTIFACTS = 20_000
MAX_ATTENTION = 20_000
MAX_HANDOFFS = 20_000


@dataclass
class Facts:
    """Rows of the marts, by view.

    Attributes:
        workspaces: Names of the workspaces.
        as_of: The newest read; None if nothing has been read yet.
        since: The first day shown.
        initiatives: Initiatives that are neither completed nor closed.
        progress: The days shown of every initiative.
        agent_days, agent_times: Output of agents, and their observed status.
        waiting: Decisions waiting now.
        decisions: The most recently asked decisions, waiting or not.
        artifacts: The newest artifacts.
        days: The organisation per day.
        health: The tables and their last reads.
        attention: What needs a person now, by kind, critical and oldest first.
        run_outcomes: Outcomes of runs, by agent and driver.
        costs: Estimated cost of the runs of the last weeks, by day.
        outcome_costs: Estimated cost of runs, by outcome.
        usage: Usage that OrgX counts in the newest period.
        handoffs: Handoffs and their waits.
        in_doubt: The number of OrgX timestamps that the marts do not trust.
    """

    workspaces: Sequence[str] = ()
    as_of: datetime | None = None
    since: date = date.min
    initiatives: list[Row] = field(default_factory=list)
    progress: list[Row] = field(default_factory=list)
    agent_days: list[Row] = field(default_factory=list)
    agent_times: list[Row] = field(default_factory=list)
    waiting: list[Row] = field(default_factory=list)
    decisions: list[Row] = field(default_factory=list)
    artifacts: list[Row] = field(default_factory=list)
    days: list[Row] = field(default_factory=list)
    health: list[Row] = field(default_factory=list)
    attention: list[Row] = field(default_factory=list)
    run_outcomes: list[Row] = field(default_factory=list)
    costs: list[Row] = field(default_factory=list)
    outcome_costs: list[Row] = field(default_factory=list)
    usage: list[Row] = field(default_factory=list)
    handoffs: list[Row] = field(default_factory=list)
    in_doubt: int = 0


def read_facts(marts: MartsReader) -> Facts:
    """Read the rows that the report shows, in a fixed order: the same rows give the same page.

    Raises:
        DestinationError: A view does not exist, or cannot be read.
    """
    as_of = next((row["as_of"] for row in marts.rows("stg_orgx__as_of")), None)
    facts = Facts(workspaces=marts.workspaces, as_of=as_of)
    facts.health = marts.rows("sync_health", order_by="table_name")
    if as_of is not None:
        facts.since = as_of.date() - timedelta(days=DAYS_SHOWN)
        _read_initiatives(marts, facts)
        _read_agents(marts, facts)
        _read_decisions(marts, facts)
        facts.artifacts = marts.rows(
            "artifact_flow",
            columns=("artifact_type", "status_group", "is_approved", "created_at", "hours_to_approval", "revisions"),
            where="created_at >= %s and deleted_at is null",
            values=[_midnight(facts.since)],
            order_by="created_at desc, artifact_id",
            most=MAX_ARTIFACTS,
        )
        facts.attention = marts.rows(
            "needs_attention",
            order_by="kind, urgency_rank desc, since, entity_type, entity_id",
            most=MAX_ATTENTION,
        )
        _read_costs(marts, facts)
        facts.in_doubt = len(marts.rows("times_in_doubt", columns=("entity_id",)))
        facts.days = marts.rows("org_daily", where="day >= %s", values=[facts.since], order_by="day")
    return facts


def _midnight(day: date) -> datetime:
    """Return the start of a day in UTC: a database compares a time with a date in the time zone of its session."""
    return datetime.combine(day, time(), UTC)


def _read_initiatives(marts: MartsReader, facts: Facts) -> None:
    facts.initiatives = marts.rows(
        "initiatives_current", where="status_group not in ('completed', 'closed')", order_by="initiative_id"
    )
    facts.progress = marts.rows(
        "initiative_progress_daily",
        columns=(
            "initiative_id", "day", "title", "status_group", "tasks_total", "tasks_done", "tasks_dropped",
            "tasks_done_pct",
        ),
        where="day >= %s",
        values=[facts.since],
        order_by="day, initiative_id",
    )  # fmt: skip


def _read_costs(marts: MartsReader, facts: Facts) -> None:
    facts.run_outcomes = marts.rows("run_outcomes", order_by="runs desc, agent_id, source_driver")
    facts.outcome_costs = marts.rows("cost_per_outcome", order_by="runs desc, outcome")
    facts.costs = marts.rows("cost_daily", where="day >= %s", values=[facts.since], order_by="day, provider")
    facts.usage = marts.rows("stg_orgx__usage", where="is_current", order_by="breakdown, cost_usd desc, usage_id")
    facts.handoffs = marts.rows("handoff_waits", order_by="made_at desc, handoff_id", most=MAX_HANDOFFS)


def _read_agents(marts: MartsReader, facts: Facts) -> None:
    facts.agent_days = marts.rows(
        "agent_throughput_daily", where="day >= %s", values=[facts.since], order_by="day, agent_id"
    )
    facts.agent_times = marts.rows(
        "agent_timeline", where="ended_at >= %s", values=[_midnight(facts.since)], order_by="agent_id, started_at"
    )


def _read_decisions(marts: MartsReader, facts: Facts) -> None:
    facts.waiting = marts.rows("decision_latency", where="is_open", order_by="asked_at, decision_id", most=MAX_WAITING)
    # Chosen only by when they were asked: preferring open decisions would bias the waiting times upwards.
    facts.decisions = marts.rows(
        "decision_latency",
        where="asked_at >= %s",
        values=[_midnight(facts.since)],
        order_by="asked_at desc, decision_id",
        most=MAX_DECISIONS,
    )
