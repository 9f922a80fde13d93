"""What the charts show: given rows and expected marks, lanes and sentences. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from orgx_source.charts.findings.agents import (
    BEFORE,
    RECENT,
    describe_blockages,
    describe_cost_per_artifact,
    describe_throughput,
    describe_timeline,
    distinct_names,
    whole_weeks,
)
from orgx_source.charts.findings.caption import MOST_LANES, Nothing
from orgx_source.charts.findings.costs import (
    COUNTED,
    ESTIMATE,
    KNOWN,
    UNKNOWN,
    describe_cost_per_outcome,
    describe_counted_cost,
    describe_runs_without_cost,
    describe_weekly_cost,
)
from orgx_source.charts.findings.decisions import (
    ANSWERED,
    LEAST_HOURS,
    WAITING,
    describe_decision_survival,
    describe_decision_waits,
    describe_decisions_open,
    describe_waiting_now,
    longest_waiting,
)
from orgx_source.charts.findings.initiatives import (
    describe_burn_up,
    describe_forecast,
    describe_portfolio,
    describe_progress_lines,
    describe_stalls,
    longest_still,
    not_closed_now,
    reasons_to_stall,
)
from orgx_source.charts.findings.rows import count_tasks, in_use, until_tomorrow
from orgx_source.charts.findings.wording import inflected, say_pct, say_shown
from tests.mart_rows import (
    DAY,
    NOW,
    Row,
    agent_day,
    cost_day,
    decision,
    initiative,
    org_day,
    outcome,
    piece,
    progress,
    steady,
    usage,
)

HOUR = timedelta(hours=1)


def on(day: int) -> date:
    return DAY + timedelta(days=day)


def shown(found: Any) -> Any:
    assert not isinstance(found, Nothing)
    return found


def columns(marks: Sequence[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(mark[name] for name in names) for mark in marks]


# -- initiatives ---------------------------------------------------------------------------------------------------


def test_a_bar_of_the_portfolio_holds_what_its_initiative_has_done() -> None:
    rows = [initiative(1), initiative(2, status_group="paused", days_since_movement=9.0, tasks_done_pct=None)]
    found = shown(describe_portfolio(rows))
    assert found.bars == [
        {
            "lane": 0, "title": "Initiative 2", "status": "paused", "done": 0.0, "full": 100, "stated": 40.0,
            "tasks": "5 of 9", "moved": "9.0 d",
        },
        {
            "lane": 1, "title": "Initiative 1", "status": "active", "done": 55.6, "full": 100, "stated": 40.0,
            "tasks": "5 of 9", "moved": "24 h",
        },
    ]  # fmt: skip
    assert found.lanes == [("Initiative 2", "9.0 d ago"), ("Initiative 1", "24 h ago")]
    assert found.finding == "0 of 1 initiative under way have not changed for a week"
    assert shown(describe_portfolio([initiative(1, days_since_movement=None)])).lanes == [("Initiative 1", "unknown")]


@pytest.mark.parametrize(
    ("count", "lanes", "said"), [(25, 25, ""), (26, 25, " Shown: 25 of 26, the longest unchanged.")]
)
def test_the_portfolio_says_how_many_it_leaves_out(count: int, lanes: int, said: str) -> None:
    found = shown(describe_portfolio([initiative(number) for number in range(count)]))
    assert (len(found.bars), len(found.lanes)) == (lanes, lanes)
    assert found.how.endswith(f"Colour: status.{said}")


def test_initiatives_without_a_change_for_longest_come_first_and_titles_decide_between_equals() -> None:
    rows = [
        initiative(1, days_since_movement=None),
        initiative(3, days_since_movement=5.0),
        initiative(2, days_since_movement=5.0),
        initiative(4, days_since_movement=5.0, title=None),
    ]
    assert [row["initiative_id"] for row in longest_still(rows)] == ["i4", "i2", "i3", "i1"]


def test_burn_up_adds_the_initiatives_that_are_not_closed_on_the_last_day() -> None:
    rows = [
        *(progress(0, 1, 10, 2), progress(0, 2, 9, 9), progress(0, 3, 5, 0)),
        *(progress(30, 1, 12, 6, dropped=3), progress(30, 2, 9, 9, status="closed"), progress(30, 3, 5, 4)),
    ]
    assert [row["initiative_id"] for row in not_closed_now(rows)] == ["i1", "i3"]
    found = shown(describe_burn_up(rows))
    assert found.days == [
        {"day": on(0), "label": "13 Apr", "done": 2, "total": 15, "left": 13},
        {"day": on(30), "label": "13 May", "done": 10, "total": 14, "left": 4},
    ]
    assert found.finding == "10 of 14 tasks are done; in 30 days 8 were finished, 2 added and 3 dropped"
    assert found.how.startswith("2 initiatives.")
    assert shown(describe_burn_up(rows[:3])).finding == "11 of 24 tasks are done"


def test_progress_lines_hold_each_day_that_has_tasks_and_the_last_one_to_its_end() -> None:
    rows = [progress(0, 1, 0, 0), progress(1, 1, 4, 1), progress(2, 1, 4, 3), progress(2, 2, 0, 0)]
    found = shown(describe_progress_lines(rows))
    # Nothing was finished in the second; it has no tasks, so its lane is empty.
    assert found.lanes == [("Initiative 2", "no tasks, +0 in 2 d"), ("Initiative 1", "75 %, +3 in 2 d")]
    assert columns(found.points, "day", "label", "initiative", "done", "lane") == [
        (on(1), "14 Apr", "i1", 25.0, 1),
        (on(2), "15 Apr", "i1", 75.0, 1),
        (on(3), "16 Apr", "i1", 75.0, 1),
    ]
    assert found.finding == "1 of 2 initiatives under way finished no task in 2 days"


def test_tasks_that_were_done_at_the_first_read_are_no_gain_unless_the_initiative_is_younger() -> None:
    rows = [progress(0, 1, 8, 5), progress(1, 1, 8, 6), progress(1, 2, 8, 5)]
    assert shown(describe_progress_lines(rows)).lanes == [
        ("Initiative 1", "75 %, +1 in 1 d"),
        ("Initiative 2", "62 %, +5 in 1 d"),
    ]


@pytest.mark.parametrize(
    ("other", "reasons"),
    [
        ({}, {}),
        ({"status": "at_risk", "status_group": "blocked"}, {"status blocked": "at risk"}),
        ({"tasks_blocked": 2}, {"tasks blocked": "2"}),
        ({"decisions_pending": 1, "oldest_pending_hours": 24.0}, {"decisions pending": "1, 1.0 d"}),
        ({"decisions_pending": 1, "oldest_pending_hours": 23.9}, {}),
        ({"decisions_pending": 1, "oldest_pending_hours": None}, {}),
        ({"tasks_todo": 0, "tasks_in_progress": 0}, {"nothing open": "none"}),
        ({"owner_agents": []}, {"nobody assigned": "none"}),
        ({"owner_agents": None}, {"nobody assigned": "none"}),
        ({"owner_agents": ["Eli"]}, {}),
        ({"days_since_movement": 7.0}, {"no change": "7.0 d"}),
        ({"days_since_movement": 6.9}, {}),
        ({"is_overdue": True, "due_on": DAY}, {"past due": "13 Apr"}),
        ({"is_overdue": True}, {"past due": "yes"}),
    ],
    ids=str,
)
def test_each_reason_to_stall_has_its_limit(other: Row, reasons: dict[str, str]) -> None:
    assert reasons_to_stall(initiative(1, **other)) == reasons


def test_stalls_have_a_cell_per_reason_and_those_with_the_most_reasons_first() -> None:
    rows = [initiative(1, tasks_blocked=1), initiative(2), initiative(3, tasks_blocked=4, is_overdue=True)]
    found = shown(describe_stalls(rows))
    assert found.lanes == [("Initiative 3", ""), ("Initiative 1", "")]
    assert len(found.cells) == 2 * 7
    held = [cell for cell in found.cells if cell["held"]]
    assert columns(held, "lane", "reason", "text") == [
        (0, "tasks blocked", "4"),
        (0, "past due", "yes"),
        (1, "tasks blocked", "1"),
    ]
    assert found.finding == ("2 of 3 initiatives under way are stalled, most often because tasks are blocked (2)")


def test_a_forecast_begins_where_history_ends() -> None:
    found = shown(describe_forecast(steady(43, 2, 104)))
    assert (found.past[0], found.past[-1]) == (
        {"day": on(0), "label": "13 Apr", "left": 104},
        {"day": on(42), "label": "25 May", "left": 20},
    )
    assert columns(found.ahead[:2], "day", "low", "middle", "high", "range", "growing") == [
        (on(42), 20.0, 20.0, 20.0, "20 to 20", 20.0),
        (on(43), 18.0, 18.0, 18.0, "18 to 18", 18.0),
    ]
    assert found.finding == "Estimate: without new tasks, the 20 open tasks will be done on 4 Jun"


# -- agents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "mondays"),
    [(0, 6, []), (0, 7, [0]), (1, 14, [7]), (1, 13, []), (0, 21, [0, 7, 14])],
    ids=str,
)
def test_a_week_counts_when_every_day_of_it_is_over(first: int, last: int, mondays: list[int]) -> None:
    rows = [agent_day(day) for day in range(first, last + 1)]
    assert whole_weeks(rows, "tasks_done") == [on(day) for day in mondays]


def test_weeks_of_what_comes_from_history_begin_with_history() -> None:
    unseen = {"tasks_done": None, "artifacts_approved": None}
    rows = [agent_day(day, **(unseen if day < 7 else {})) for day in range(15)]
    assert whole_weeks(rows, "tasks_done") == [on(7)]
    assert whole_weeks(rows, "runs_completed") == [on(0), on(7)]
    assert whole_weeks(rows[:7], "artifacts_approved") == []


def test_throughput_has_a_bar_per_agent_and_week_and_the_busiest_agent_first() -> None:
    rows = [*(agent_day(day, tasks_done=1) for day in range(36)), *(agent_day(day, "Sage") for day in range(36))]
    rows += [agent_day(28, "Sage", tasks_done=50)]
    found = shown(describe_throughput(rows, "tasks_done"))
    assert columns(found.bars, "lane", "agent", "from", "to", "count", "part") == [
        (0, "Sage", on(1), on(7), 0.0, BEFORE),
        *((0, "Sage", on(day + 1), on(day + 7), 50.0 if day == 28 else 0.0, RECENT) for day in (7, 14, 21, 28)),
        (1, "Eli", on(1), on(7), 7.0, BEFORE),
        *((1, "Eli", on(day + 1), on(day + 7), 7.0, RECENT) for day in (7, 14, 21, 28)),
    ]
    assert found.bars[0]["week"] == "13 Apr to 19 Apr"
    assert found.means == [
        {"from": on(0), "to": on(7), "lane": 0, "mean": 0.0},
        {"from": on(7), "to": on(35), "lane": 0, "mean": 12.5},
        {"from": on(0), "to": on(7), "lane": 1, "mean": 7.0},
        {"from": on(7), "to": on(35), "lane": 1, "mean": 7.0},
    ]
    assert found.lanes == [("Sage", "12.5 a week, was 0.0"), ("Eli", "7.0 a week, was 7.0")]
    assert (found.noun, found.most) == ("tasks", 50.0)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (1, 2, "Agents complete 14 runs a week, 100 % more than in the four weeks before"),
        (2, 1, "Agents complete 7 runs a week, 50 % fewer than in the four weeks before"),
        (2, 2, "Agents complete 14 runs a week, the same as in the four weeks before"),
        (0, 1, "Agents complete 7 runs a week, up from none in the four weeks before"),
    ],
)
def test_throughput_compares_with_the_weeks_before(before: int, now: int, said: str) -> None:
    rows = [agent_day(day, runs_completed=before if day < 28 else now) for day in range(57)]
    assert shown(describe_throughput(rows, "runs_completed")).finding == said


def test_the_timeline_is_cut_off_thirty_days_before_its_end() -> None:
    days = 24
    rows = [
        piece(0, 5 * days, "idle"),
        piece(5 * days, 20 * days, "running", current_task="T1"),
        piece(20 * days, 40 * days, "blocked"),
        piece(40 * days, 40 * days, "running"),
        piece(0, 40 * days, "gone", "Sage"),
    ]
    found = shown(describe_timeline(rows))
    assert (found.start, found.end) == (NOW + 240 * HOUR, NOW + 960 * HOUR)
    assert found.bars == [
        {
            "agent": "Eli", "status": "running", "task": "T1", "from": NOW + 240 * HOUR, "to": NOW + 480 * HOUR,
            "seen": "23 Apr, 06:00 UTC to 3 May, 06:00 UTC", "lane": 0,
        },
        {
            "agent": "Eli", "status": "blocked", "task": "", "from": NOW + 480 * HOUR, "to": NOW + 960 * HOUR,
            "seen": "3 May, 06:00 UTC to 23 May, 06:00 UTC", "lane": 0,
        },
    ]  # fmt: skip
    assert found.lanes == [("Eli", "33 % running")]
    assert found.how.startswith("Last 30 days; no gaps between reads.")


def test_agents_that_nobody_saw_are_not_said_to_be_idle() -> None:
    found = shown(describe_timeline([piece(0, 10, "unknown")]))
    assert found.finding == "Reads are too far apart to show what agents did"
    assert found.lanes == [("Eli", "not seen")]
    assert "hatched: unknown (100 % of the time)" in found.how


def test_agents_that_ran_for_longest_come_first_and_those_beyond_the_last_lane_are_left_out() -> None:
    rows = [piece(0, hours, "running", f"Agent {hours:02}") for hours in range(1, MOST_LANES + 3)]
    found = shown(describe_timeline(rows))
    assert [name for name, _ in found.lanes] == [f"Agent {hours:02}" for hours in range(MOST_LANES + 2, 2, -1)]
    assert {bar["agent"] for bar in found.bars} == {name for name, _ in found.lanes}
    assert all(found.lanes[bar["lane"]][0] == bar["agent"] for bar in found.bars)


def test_agents_that_share_a_name_are_told_apart_by_their_ids() -> None:
    rows = [piece(0, 1, "idle", name, agent_id) for name, agent_id in (("Pace", "p1"), ("Pace", "p2"), ("Eli", "e"))]
    rows.append(piece(0, 1, "idle", agent_id="x", agent_name=None))
    assert distinct_names(rows) == {"p1": "Pace (p1)", "p2": "Pace (p2)", "e": "Eli", "x": "x"}


def test_blockages_stand_end_to_end_the_longest_task_first() -> None:
    rows = [
        piece(0, 12, "blocked", current_task="T1"),
        piece(12, 48, "blocked", current_task="T2"),
        piece(48, 60, "blocked", current_task="T1"),
        piece(60, 180, "running"),
    ]
    found = shown(describe_blockages(rows))
    assert found.bars == [
        {"lane": 0, "agent": "Eli", "task": "T2", "from": 0.0, "to": 1.5, "long": "1.5 d"},
        {"lane": 0, "agent": "Eli", "task": "T1", "from": 1.5, "to": 2.5, "long": "1.0 d"},
    ]
    assert found.lanes == [("Eli, longest on: T2", "2.5 d, 33 %")]


def test_the_cost_of_an_artifact_is_that_of_an_agent_over_its_approvals_the_dearest_first() -> None:
    rows = [
        agent_day(0, artifacts_approved=2, cost_usd=3.0),
        agent_day(1, artifacts_approved=2, cost_usd=3.0),
        agent_day(1, "Sage", artifacts_approved=1, cost_usd=4.0),
        agent_day(1, "Mark", artifacts_approved=1),
    ]
    found = shown(describe_cost_per_artifact(rows))
    assert found.bars == [
        {"agent": "Sage", "price": 4.0, "approved": 1.0, "cost": 4.0, "lane": 0},
        {"agent": "Eli", "price": 1.5, "approved": 4.0, "cost": 6.0, "lane": 1},
    ]
    assert found.lanes == [("Sage", "$4.00, 1 approved"), ("Eli", "$1.50, 4 approved")]
    assert (found.every, found.finding) == (2.0, "An approved artifact costs $2.00: $1.50 for Eli, $4.00 for Sage")
    alone = shown(describe_cost_per_artifact(rows[:2]))
    assert alone.finding == "An approved artifact costs $1.50"


# -- costs -------------------------------------------------------------------------------------------------------


def test_a_week_costs_what_its_days_do_and_a_week_that_is_not_over_has_no_bar() -> None:
    rows = [
        *(cost_day(day, usd=1.0) for day in range(28)),
        *(cost_day(day, usd=2.0) for day in range(28, 57)),
        cost_day(30, "openai", 4.0),
        cost_day(31, "openai", None, receipts=3),
        cost_day(0, "other", None),
        cost_day(0, usd=50.0) | {"day": None},
    ]
    found = shown(describe_weekly_cost(rows))
    assert found.finding == "Runs cost about $15.00 a week up to 7 Jun, 114 % more than in the four weeks before"
    assert "(highest bar: $14.00). 7 % of 61 receipts have no known cost and are not in any bar." in found.how
    assert "1 row without a day is excluded." in found.how
    assert columns(found.bars, "lane", "week", "usd")[:2] == [
        (0, "13 Apr to 19 Apr", 7.0),
        (0, "20 Apr to 26 Apr", 7.0),
    ]
    assert columns(found.bars, "lane", "week", "usd")[-2:] == [
        (0, "1 Jun to 7 Jun", 14.0),
        (1, "11 May to 17 May", 4.0),
    ]
    assert {bar["kind"] for bar in found.bars} == {ESTIMATE}
    assert found.lanes == [
        ("anthropic", "\u2248 $14.00 a week, was $7.00"),
        ("openai", "\u2248 $1.00 a week, was $0.00"),
    ]


def test_what_a_week_costs_is_compared_with_four_whole_weeks_before() -> None:
    def said(first: int, before: float) -> str:
        rows = [cost_day(day, usd=1.0 if day >= 28 else before) for day in range(first, 57)]
        return str(shown(describe_weekly_cost(rows)).finding).removeprefix("Runs cost about $7.00 a week up to 7 Jun")

    assert [said(0, usd) for usd in (1.0, 2.0, 0.1, 0.0)] == [
        ", the same as in the four weeks before",
        ", 50 % less than in the four weeks before",
        ", 10 times as much as in the four weeks before",
        ", up from nothing in the four weeks before",
    ]
    assert said(1, 1.0) == ""


def test_the_same_costs_in_another_order_make_the_same_marks() -> None:
    rows = [cost_day(day % 21, usd=0.1 * day + 1e-9) for day in range(200)]
    assert describe_weekly_cost(rows) == describe_weekly_cost(rows[::-1])


def test_what_orgx_counts_is_that_of_the_newest_period_by_model_else_by_provider() -> None:
    rows = [
        usage("total", 10.0),
        usage("provider", 10.0, "anthropic"),
        usage("model", 2.5, "small"),
        usage("model", 7.0, "large"),
        usage("model", 99.0, "old", is_current=False),
        usage("model", None, "unpriced"),
    ]
    found = shown(describe_counted_cost(rows))
    assert found.finding == "OrgX has counted $10.00 since 13 Apr; large accounts for 70 %"
    assert columns(found.bars, "name", "usd", "kind") == [("large", 7.0, COUNTED), ("small", 2.5, COUNTED)]
    assert found.lanes[0] == ("large", "$7.00, 2 runs")
    assert columns(shown(describe_counted_cost(rows[:2])).bars, "name") == [("anthropic",)]


def test_a_run_costs_the_average_of_those_with_a_known_cost() -> None:
    rows = [
        outcome("shipped", 4, 6, 8.0),
        outcome("failed", 1, 0, 5.0),
        outcome("open", 0, 2),
        outcome("no_run", 0, 0, 3.0),
    ]
    found = shown(describe_cost_per_outcome(rows))
    assert found.finding == "A run costs about $2.60: $2.00 if it shipped, $5.00 if it failed"
    assert "Excludes receipts without a known run ($3.00)." in found.how
    assert columns(found.bars, "outcome", "usd", "kind") == [("failed", 5.0, ESTIMATE), ("shipped", 2.0, ESTIMATE)]
    assert found.lanes[1] == ("shipped", "\u2248 $2.00, 4 of 10 runs")


def test_runs_without_a_cost_are_shown_beside_those_with_one() -> None:
    rows = [
        outcome("failed", 1, 4, 5.0),
        outcome("shipped", 4, 6, 8.0),
        outcome("unknown", 0, 1),
        outcome("no_run", 0, 0),
    ]
    found = shown(describe_runs_without_cost(rows))
    assert found.finding == "69 % of 16 runs have no known cost (shipped: 60 %, failed: 80 %)"
    assert columns(found.bars, "outcome", "kind", "from", "to") == [
        ("shipped", KNOWN, 0.0, 40.0),
        ("shipped", UNKNOWN, 40.0, 100.0),
        ("failed", KNOWN, 0.0, 20.0),
        ("failed", UNKNOWN, 20.0, 100.0),
        ("no outcome", UNKNOWN, 0.0, 100.0),
    ]
    assert (
        shown(describe_runs_without_cost([outcome("shipped", 1, 0, 1.0)])).finding == "0 % of 1 run have no known cost"
    )


# -- decisions -----------------------------------------------------------------------------------------------------


def test_waits_have_a_dot_per_decision_and_quartiles_of_those_that_were_answered() -> None:
    rows = [
        *(decision(n, hours) for n, hours in enumerate((4.0, 0.0, 2.0, 1.0, 3.0))),
        decision(5, 9.0, "pending", "critical"),
        decision(6, 9.0, "superseded"),
        decision(7, 0.0) | {"hours_waiting": None},
    ]
    found = shown(describe_decision_waits(rows))
    assert columns(found.dots, "hours", "lane", "what", "title", "long") == [
        (LEAST_HOURS, 1, ANSWERED, "Question 1", "1 min"),
        (1.0, 1, ANSWERED, "Question 3", "1.0 h"),
        (2.0, 1, ANSWERED, "Question 2", "2.0 h"),
        (3.0, 1, ANSWERED, "Question 4", "3.0 h"),
        (4.0, 1, ANSWERED, "Question 0", "4.0 h"),
        (9.0, 0, WAITING, "Question 5", "9.0 h"),
    ]
    assert found.quartiles == [{"low": 1.0, "middle": 2.0, "high": 3.0, "lane": 1}]
    assert found.lanes == [("critical", "none answered"), ("medium", "5 answered, median 2.0 h")]
    assert found.longest == 9.0
    assert found.how.endswith("Excludes 1 withdrawn decision. Excludes 1 decision with an unknown wait.")


def test_the_curve_of_survival_reaches_from_the_first_minute_to_the_longest_wait() -> None:
    rows = [decision(n, hours) for n, hours in enumerate((2.0, 4.0, 4.0, 4.0, 4.0))]
    rows += [*(decision(n, 30.0, "pending") for n in (5, 6, 7, 8)), decision(9, 50.0, "cancelled")]
    found = shown(describe_decision_survival(rows))
    assert columns(found.curve, "hours", "long", "share", "at_risk") == [
        (LEAST_HOURS, "1 min", 100.0, 10),
        (2.0, "2.0 h", 90.0, 10),
        (4.0, "4.0 h", 50.0, 9),
        (50.0, "2.1 d", 50.0, 9),
    ]
    assert found.spots == [
        {"hours": 1.0, "share": 100.0, "text": "100 % after 1 h"},
        {"hours": 24.0, "share": 50.0, "text": "50 % after 1 d"},
    ]
    assert found.finding.startswith("Estimate: 50 % of decisions are still waiting after a day (")
    assert "from 10 decisions; 5 are open or withdrawn" in found.how


def test_the_curve_of_short_waits_says_what_still_waits_after_an_hour() -> None:
    found = shown(describe_decision_survival([decision(n, 0.5 if n < 3 else 2.0) for n in range(6)]))
    assert [spot["text"] for spot in found.spots] == ["50 % after 1 h"]
    assert found.finding.startswith("Estimate: 50 % of decisions are still waiting after an hour")


def test_open_decisions_have_their_average_of_up_to_four_weeks() -> None:
    found = shown(describe_decisions_open([org_day(0, 2, 1), org_day(1, 4, 3, 1), org_day(2, None)]))
    assert found.days == [
        {"day": on(0), "label": "13 Apr", "open": 2.0, "asked": 1, "settled": 0, "mean": 2.0},
        {"day": on(1), "label": "14 Apr", "open": 4.0, "asked": 3, "settled": 1, "mean": 3.0},
    ]
    assert found.finding == "4 decisions are waiting now; 3.0 on average in the last four weeks"
    longer = shown(describe_decisions_open([org_day(day, 1 if day < 28 else 5) for day in range(56)]))
    assert longer.days[-1]["mean"] == 5.0 and longer.days[-2]["mean"] == (1 + 27 * 5) / 28


def test_what_waits_now_says_who_asks_and_what_it_holds_up() -> None:
    rows = [
        decision(1, 12.0, "pending", blocks_task=True, blocked_task_title="Launch", is_overdue=True),
        decision(2, 96.0, "pending", "high", asked_by=None, asked_at=None, blocks_task=True, initiative_title="Growth"),
        decision(3, 500.0),
    ]
    found = shown(describe_waiting_now(rows))
    assert found.unit == "days"
    assert found.bars == [
        {
            "lane": 0, "wait": 4.0, "long": "4.0 d", "title": "Question 2", "urgency": "high", "asked": "unknown",
            "asked_by": "unknown", "initiative": "Growth", "who": "Requester unknown, blocks a task",
        },
        {
            "lane": 1, "wait": 0.5, "long": "12 h", "title": "Question 1", "urgency": "medium",
            "asked": "13 Apr, 06:00 UTC", "asked_by": "Eli", "initiative": "none",
            "who": "Asked by Eli, blocks Launch, overdue",
        },
    ]  # fmt: skip
    assert found.lanes == [("Question 2", "4.0 d"), ("Question 1", "0.5 d")]


def test_short_waits_are_drawn_in_hours_and_ids_decide_between_equals() -> None:
    rows = [decision(2, 12.0, "pending"), decision(1, 12.0, "pending")]
    found = shown(describe_waiting_now(rows))
    assert (found.unit, [bar["wait"] for bar in found.bars]) == ("hours", [12.0, 12.0])
    assert [row["decision_id"] for row in longest_waiting(rows)] == ["d1", "d2"]


# -- rows and words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "dropped", "count"), [(5, 2, 3), (5, None, 5), (None, None, 0)])
def test_dropped_tasks_do_not_count(total: int | None, dropped: int | None, count: int) -> None:
    assert count_tasks({"tasks_total": total, "tasks_dropped": dropped}) == count


def test_the_last_day_lasts_until_tomorrow() -> None:
    assert until_tomorrow([{"day": on(0), "left": 3}, {"day": on(1), "left": 2}])[1:] == [
        {"day": on(1), "left": 2},
        {"day": on(2), "left": 2},
    ]


def test_values_in_use_keep_their_order() -> None:
    assert in_use(("a", "b", "c"), [{"x": "c"}, {"x": "a"}, {"x": "other"}], "x") == ["a", "c"]


@pytest.mark.parametrize(("part", "whole", "said"), [(1, 3, "33 %"), (0, 5, "0 %"), (0, 0, "0 %"), (2, 2, "100 %")])
def test_shares_are_whole_percentages(part: float, whole: float, said: str) -> None:
    assert say_pct(part, whole) == said


def test_verbs_go_with_their_count() -> None:
    assert [inflected(count, "waits", "wait") for count in (0, 1, 2)] == ["wait", "waits", "wait"]


def test_what_is_left_out_is_said_and_nothing_where_all_is_shown() -> None:
    assert say_shown(20, 31, "the longest waits") == " Shown: 20 of 31, the longest waits."
    assert say_shown(20, 20, "the longest waits") == ""
