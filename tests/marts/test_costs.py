"""Marts of costs, outcomes and handoffs on a small handwritten organisation, on DuckDB and PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

from orgx_source.marts import load_marts
from orgx_source.sync import renew_marts
from orgx_source.warehouse.dialect import DUCKDB_FILE, Postgres
from tests.marts.test_times_in_doubt import insert, tables
from tests.running import execute, pipeline, query

pytestmark = pytest.mark.marts

NOW = "2026-04-13 06:00:00+00"


def at(text: str) -> str:
    """Return ``12 06:30`` as a time in April 2026, UTC."""
    return f"2026-04-{text}:00+00"


def run(run_id: str, outcome: str | None, start: str | None, end: str | None, **other: Any) -> str:
    values = {
        "id": run_id, "status": "completed" if end else "running", "outcome_kind": outcome, "agent_id": "eli",
        "source_driver": "codex", "initiative_id": "alpha", "task_id": "t1", "started_at": start and at(start),
        "completed_at": end and at(end), "created_at": at("10 00:00"), "last_changed_at": NOW,
    } | other  # fmt: skip
    return insert("runs", **{name: value for name, value in values.items() if value is not None})


def receipt(receipt_id: str, run_id: str | None, end: str | None, **other: Any) -> str:
    values = {
        "id": receipt_id, "run_id": run_id, "provider": "openai", "started_at": end and at(end),
        "completed_at": end and at(end), "last_changed_at": NOW,
    } | other  # fmt: skip
    return insert("execution_receipts", **{name: value for name, value in values.items() if value is not None})


def handoff(handoff_id: str, status: str, made: str | None, *events: tuple[str, str, str]) -> list[str]:
    row = {"id": handoff_id, "status": status, "priority": "high", "last_changed_at": NOW}
    return [
        insert("handoffs", **row, **({"created_at": at(made)} if made else {})),
        *(
            insert("handoff_events", id=f"{handoff_id}-{number}", handoff_id=handoff_id, event_type=kind,
                   actor_type=actor, created_at=at(when), last_changed_at=NOW)
            for number, (kind, actor, when) in enumerate(events)
        ),
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def _organisation(each_warehouse: str) -> None:
    execute(
        *tables(DUCKDB_FILE if each_warehouse == "duckdb" else Postgres()),
        insert("sync_log", table_name="runs", run_id="r", started_at=NOW, finished_at=NOW, verdict="certified"),
        insert("initiatives", id="alpha", title="Alpha", status="active", created_at=at("01 00:00"),
               last_changed_at=NOW),
        insert("agents", id="eli", name="Eli", status="idle", blockers="[]", last_changed_at=NOW),
        insert("agents", id="eli-agent", name="Eli", status="idle", blockers="[]", last_changed_at=NOW),
        # r1 and r2: shipped after two hours and one hour. r3: failed, with an outcome. r4: ends before it starts.
        run("r1", "shipped", "11 06:00", "11 08:00", quality_score=0.8),
        run("r2", "shipped", "12 06:00", "12 07:00", quality_score=0.6, agent_id="eli-agent"),
        run("r3", "shipped", "12 06:00", "12 06:30", status="failed"),
        run("r4", "blocked", "12 06:00", "12 05:00", task_id=None),
        run("r5", None, "12 06:00", None),
        run("r6", None, "12 06:00", "12 07:00", agent_id="dana", source_driver=None, initiative_id=None),
        run("r7", "abandoned", "01 06:00", "12 07:00", agent_id=None),
        run("r8", "shipped", "02 06:00", "12 07:00", deleted_at=NOW),
        run("r9", None, "01 06:00", "12 07:00", status="cancelled", created_at=at("01 06:00"),
            started_at="1999-01-01 00:00:00+00"),
        # c1 and c2: one run. c3: no known cost. c4: negative cost. c5: no run. c6: an unknown run. c7: a deleted run,
        # no time. c8: a cost without a unit.
        receipt("c1", "r1", "11 08:00", cost_estimate_cents=100, tokens_used=1000),
        receipt("c2", "r1", "12 08:00", cost_estimate_cents=50, tokens_used=500),
        receipt("c3", "r2", "12 07:00", saved_estimate_cents=30, tokens_used=300),
        receipt("c4", "r3", "12 07:00", cost_estimate_cents=-5, tokens_used=-1),
        receipt("c5", None, "12 07:00", cost_estimate_cents=20, tokens_used=10),
        receipt("c6", "nobody", "12 07:00", cost_estimate_cents=30, provider=None),
        receipt("c7", "r8", None, cost_estimate_cents=10),
        receipt("c8", "r4", "12 07:00", cost_unstated=99),
        *handoff("h1", "fulfilled", "11 06:00", ("created", "agent", "11 06:00"), ("claimed", "human", "11 09:00"),
                 ("fulfilled", "human", "11 10:00")),
        *handoff("h2", "created", "12 06:00", ("created", "agent", "12 06:00")),
        *handoff("h3", "claimed", "12 06:00", ("claimed", "human", "12 18:00")),
        *handoff("h4", "fulfilled", "12 06:00"),
        *handoff("h5", "proposed", None),
        *handoff("h6", "claimed", "12 06:00", ("claimed", "human", "12 05:00")),
        *handoff("h7", "cancelled", "12 06:00"),
        *handoff("h8", "strange", "12 06:00"),
    )  # fmt: skip
    assert renew_marts(pipeline())


def numbers(sql: str) -> list[tuple[Any, ...]]:
    return [
        tuple(value if value is None or isinstance(value, str | bool) else round(float(value), 6) for value in row)
        for row in query(sql)
    ]


def test_sums_do_not_depend_on_the_order_in_which_rows_are_stored() -> None:
    # In floating point, 0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1, and databases sum in any order.
    amounts, told = (0.1, 0.2, 0.3), []
    for order in (amounts, amounts[::-1]):
        execute("delete from orgx.execution_receipts", "delete from orgx.runs", "delete from orgx.activity")
        for amount in order:
            execute(
                run(f"r{amount}", "shipped", "11 06:00", f"11 0{round(amount * 10 + 6)}:06", quality_score=amount),
                receipt(f"c{amount}", f"r{amount}", "11 08:00", cost_estimate_cents=amount,
                        saved_estimate_cents=amount),
                insert("activity", id=f"a{amount}", agent_id="eli", type="run_completed", timestamp=at("11 06:00"),
                       cost_delta=amount),
            )  # fmt: skip
        told.append(
            [
                query(f"select * from orgx_marts.{mart} order by 1, 2, 3")
                for mart in ("cost_daily", "cost_per_outcome", "run_outcomes", "org_daily", "agent_throughput_daily")
            ]
        )
    assert told[0] == told[1]
    assert query("select sum(cost_usd) from orgx_marts.org_daily") == [(pytest.approx(0.6),)]


def test_runs_are_counted_by_how_they_ended_for_each_agent_and_driver() -> None:
    found = numbers(
        "select agent_id, source_driver, runs, shipped, awaiting_review, blocked, abandoned, failed, open_runs, "
        "unknown_outcome, hours, hours_count, hours_unknown, quality_avg, quality_count, without_task "
        "from orgx_marts.run_outcomes order by 1, 2"
    )
    assert found == [
        ("dana", "unknown", 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, None, 0, 0),
        # An alias counts as the agent it stands for. r4 ends before it starts; r9 took 27 years.
        ("eli-agent", "codex", 6, 2, 0, 1, 1, 1, 1, 0, 3.5, 3, 2, 0.7, 2, 1),
        ("unknown", "codex", 1, 0, 0, 0, 1, 0, 0, 0, 265, 1, 0, None, 0, 0),
    ]
    shares = dict(query("select agent_id, shipped_share from orgx_marts.run_outcomes"))
    assert shares == {"dana": None, "eli-agent": pytest.approx(2 / 5), "unknown": 0}
    whole = (
        "select sum(runs), sum(shipped + awaiting_review + blocked + abandoned + failed + open_runs + unknown_outcome)"
    )
    assert numbers(f"{whole} from orgx_marts.run_outcomes") == [(8, 8)]


def test_costs_of_a_day_are_estimates_and_what_is_not_known_is_counted() -> None:
    found = numbers(
        "select cast(day as text), provider, initiative_id, receipts, receipts_without_cost, receipts_without_run, "
        "tokens, tokens_unknown, cost_estimate_usd, saved_estimate_usd from orgx_marts.cost_daily "
        "order by day, provider, initiative_id"
    )
    assert found == [
        ("2026-04-11", "openai", "alpha", 1, 0, 0, 1000, 0, 1, None),
        # c2, c3 (only a saving), c4 (negative) and c8 (no unit).
        ("2026-04-12", "openai", "alpha", 4, 3, 0, 800, 2, 0.5, 0.3),
        ("2026-04-12", "openai", "unknown", 1, 0, 1, 10, 0, 0.2, None),
        ("2026-04-12", "unknown", "unknown", 1, 0, 1, None, 1, 0.3, None),
        (None, "openai", "alpha", 1, 0, 0, None, 1, 0.1, None),
    ]
    assert query("select distinct cost_source, is_estimate from orgx_marts.cost_daily") == [
        ("execution_receipts", True)
    ]
    assert numbers("select max(without_cost_share) from orgx_marts.cost_daily") == [(0.75,)]


def test_an_outcome_costs_what_its_runs_cost_and_the_shares_add_up_to_one() -> None:
    found = numbers(
        "select outcome, runs, runs_with_cost, runs_without_cost, receipts, receipts_without_cost, cost_estimate_usd, "
        "cost_per_run_usd, tokens from orgx_marts.cost_per_outcome order by outcome"
    )
    assert found == [
        ("abandoned", 2, 0, 2, 0, 0, None, None, None),
        ("blocked", 1, 0, 1, 1, 1, None, None, None),
        ("failed", 1, 0, 1, 1, 1, None, None, None),
        ("no_run", 0, 0, 0, 2, 0, 0.5, None, 10),
        ("open", 1, 0, 1, 0, 0, None, None, None),
        # r1 with 1.50 and the deleted r8 with 0.10; r2 has only a saving.
        ("shipped", 3, 2, 1, 4, 1, 1.6, 0.8, 1800),
        ("unknown", 1, 0, 1, 0, 0, None, None, None),
    ]
    assert numbers("select sum(cost_share) from orgx_marts.cost_per_outcome") == [(1,)]
    assert numbers("select without_cost_share from orgx_marts.cost_per_outcome where outcome = 'no_run'") == [(None,)]


def test_sums_over_days_agents_and_outcomes_are_one_total() -> None:
    total = numbers(
        "select sum(cost_estimate_cents) / 100.0 from orgx.execution_receipts where cost_estimate_cents > 0"
    )
    assert numbers("select sum(cost_estimate_usd) from orgx_marts.cost_daily") == total == [(2.1,)]
    assert numbers("select sum(cost_estimate_usd) from orgx_marts.cost_per_outcome") == total
    receipts = numbers("select count(*) from orgx.execution_receipts")
    assert numbers("select sum(receipts) from orgx_marts.cost_daily") == receipts
    assert numbers("select sum(receipts) from orgx_marts.cost_per_outcome") == receipts


def test_handoffs_wait_for_somebody_and_then_for_the_end() -> None:
    found = numbers(
        "select handoff_id, status_group, is_open, hours_to_claim, hours_to_fulfil, hours_waiting, is_time_known "
        "from orgx_marts.handoff_waits order by handoff_id"
    )
    assert found == [
        ("h1", "fulfilled", False, 3, 1, None, True),
        ("h2", "waiting", True, 24, None, 24, True),
        ("h3", "claimed", True, 12, 12, 24, True),
        ("h4", "fulfilled", False, None, None, None, False),
        ("h5", "waiting", True, None, None, None, False),
        # Claimed before it was created, so hours_to_claim is unknown.
        ("h6", "claimed", True, None, 25, 24, True),
        ("h7", "closed", False, None, None, None, True),
        ("h8", "unknown", False, None, None, None, False),
    ]


def test_grains_hold() -> None:
    for name in ("run_outcomes", "cost_daily", "cost_per_outcome", "handoff_waits"):
        keys = ", ".join(load_marts()[name].key)
        assert query(f"select {keys} from orgx_marts.{name} group by {keys} having count(*) > 1") == []
