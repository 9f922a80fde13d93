"""What the pictures say: the finding in the title, what is estimated, and that every one of them can be drawn."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone
from importlib.util import find_spec
from typing import Any

import pandas as pd
import pytest
import vl_convert

from orgx_source import charts
from orgx_source.charts.estimates import (
    HORIZON_DAYS,
    Z95,
    count_added,
    estimate_survival,
    forecast_remaining,
    quantile,
    share_after,
)
from orgx_source.charts.findings.rows import rows_of
from orgx_source.charts.findings.wording import say_hours
from orgx_source.charts.style import STATUS_COLOURS, URGENCY_COLOURS
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

NBSP = "\u00a0"


EVERY: dict[str, list[Row]] = {
    "portfolio": [initiative(1), initiative(2, status_group="blocked", progress_pct=None, tasks_done_pct=None)],
    "burn_up": steady(20, 1, 40),
    "progress_lines": [*steady(40, 1, 50), *(progress(day, 2, 0, 0) for day in range(40))],
    "stalls": [initiative(1, tasks_blocked=2), initiative(2)],
    "forecast": steady(50, 1, 80),
    "throughput": [agent_day(day, tasks_done=1) for day in range(60)],
    "timeline": [piece(0, 24, "running"), piece(24, 72, "unknown"), piece(72, 72, "idle")],
    "blockages": [piece(0, 24, "blocked", current_task="T1"), piece(24, 72, "idle")],
    "cost_per_artifact": [agent_day(0, artifacts_approved=2, cost_usd=3.0), agent_day(0, "Sage", cost_usd=1.0)],
    "cost_per_week": [cost_day(day, usd=2.0) for day in range(60)],
    "counted_cost": [usage("total", 5.0), usage("model", 4.0, "big"), usage("model", 1.0, "small")],
    "cost_per_outcome": [outcome("shipped", 4, 1, 8.0), outcome("failed", 1, 2, 5.0)],
    "runs_without_cost": [outcome("shipped", 4, 1, 8.0), outcome("failed", 1, 2, 5.0), outcome("open", 0, 2)],
    "decision_waits": [decision(1, 2.0), decision(2, 50.0, "pending", "critical")],
    "decision_survival": [*(decision(n, 2.0) for n in range(5)), decision(6, 50.0, "pending")],
    "decisions_open": [org_day(day, day % 3, 1) for day in range(60)],
    "waiting_now": [decision(1, 70.0, "pending", blocks_task=True)],
}


def draw(name: str, rows: Iterable[Row], *others: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(charts, name)(list(rows), *others).to_dict()
    return found


def finding(name: str, rows: Iterable[Row], *others: Any) -> str:
    return " ".join(draw(name, rows, *others)["title"]["text"]).replace(NBSP, " ")


def how(name: str, rows: Iterable[Row]) -> str:
    return " ".join(draw(name, rows)["title"]["subtitle"]).replace(NBSP, " ")


def values(spec: dict[str, Any], column: str) -> list[Any]:
    return [row[column] for rows in spec["datasets"].values() for row in rows if column in row]


def test_every_picture_has_rows_here() -> None:
    assert EVERY.keys() == set(charts.__all__)


@pytest.mark.parametrize("name", EVERY)
def test_rows_in_another_zone_make_the_same_picture(name: str) -> None:
    def moved(value: Any) -> Any:
        return value.astimezone(timezone(timedelta(hours=13))) if isinstance(value, datetime) else value

    rows = [{column: moved(value) for column, value in row.items()} for row in EVERY[name]]
    assert draw(name, rows) == draw(name, EVERY[name])


@pytest.mark.parametrize("name", charts.__all__)
def test_a_picture_without_rows_says_so(name: str) -> None:
    spec = draw(name, [])
    assert finding(name, []).startswith(("No ", "A forecast needs"))
    assert vl_convert.vegalite_to_png(json.dumps(spec))


@pytest.mark.parametrize("name", charts.__all__)
def test_a_picture_fits_its_place_and_becomes_a_png(name: str) -> None:
    spec = draw(name, EVERY[name])
    assert spec["width"] == "container"
    assert not {"url", "$ref"} & {key for rows in spec["datasets"].values() for row in rows for key in row}
    assert finding(name, EVERY[name]) in spec["description"].replace(NBSP, " ")
    assert vl_convert.vegalite_to_png(json.dumps(spec)).startswith(b"\x89PNG")


def test_no_picture_says_something_by_red_against_green_alone() -> None:
    # Okabe and Ito's palette, and greys.
    palette = {"#0072B2", "#009E73", "#D55E00", "#E69F00", "#56B4E9", "#CC79A7", "#BBBBBB", "#EDEDED", "#FFFFFF"}
    assert {*STATUS_COLOURS.values(), *URGENCY_COLOURS.values()} <= palette
    assert len(set(URGENCY_COLOURS.values())) == len(URGENCY_COLOURS)


# -- findings ------------------------------------------------------------------------------------------------------


def test_portfolio_counts_those_under_way_that_stand_still() -> None:
    rows = [
        initiative(1, days_since_movement=7.0),
        initiative(2, days_since_movement=6.9),
        initiative(3, days_since_movement=30.0, status_group="paused"),
        initiative(4, days_since_movement=90.0, status_group="completed"),
    ]
    assert finding("portfolio", rows) == "1 of 2 initiatives under way has not changed for a week"
    assert values(draw("portfolio", rows), "title") == ["Initiative 3", "Initiative 1", "Initiative 2"]


def test_portfolio_shows_no_more_than_fits_and_says_so() -> None:
    rows = [initiative(number) for number in range(30)]
    assert len(values(draw("portfolio", rows), "title")) == 25
    assert "Shown: 25 of 30, the longest unchanged." in how("portfolio", rows)


def test_burn_up_leaves_out_what_was_dropped_and_what_is_closed() -> None:
    rows = [
        progress(0, 1, 10, 2),
        progress(0, 2, 100, 50),
        progress(40, 1, 16, 7, dropped=1),
        progress(40, 2, 100, 99, status="closed"),
    ]
    assert finding("burn_up", rows) == "7 of 15 tasks are done; in 40 days 5 were finished, 6 added and 1 dropped"


def test_progress_lines_count_those_without_a_finished_task() -> None:
    rows = [
        *(progress(day, 1, 10, 5 if day > 35 else 3) for day in range(40)),
        *(progress(day, 2, 10, 9 if day > 5 else 0) for day in range(40)),
    ]
    assert finding("progress_lines", rows) == "1 of 2 initiatives under way finished no task in four weeks"
    assert values(draw("progress_lines", rows), "note") == ["90 %, +0 in 28 d", "50 %, +2 in 28 d"]


def test_progress_lines_count_from_the_first_read_on_but_a_younger_initiative_from_its_beginning() -> None:
    old = [progress(0, 1, 10, 15), progress(1, 1, 10, 15)]
    rows = [*old, progress(0, 2, 10, 4), progress(1, 2, 10, 5), progress(1, 3, 10, 3)]
    assert values(draw("progress_lines", rows), "note")[0].endswith("+0 in 1 d")
    assert sorted(note[-9:] for note in values(draw("progress_lines", rows), "note")) == [
        "+0 in 1 d",
        "+1 in 1 d",
        "+3 in 1 d",
    ]
    assert finding("progress_lines", rows) == "1 of 3 initiatives under way finished no task in 1 day"
    assert (
        finding("progress_lines", rows[:1]) == "1 initiative under way; finished tasks are visible from the second day"
    )


def test_stalls_name_each_reason() -> None:
    rows = [
        initiative(1, tasks_blocked=2, decisions_pending=1, oldest_pending_hours=72.0),
        initiative(2, tasks_todo=0, tasks_in_progress=0, owner_agents="[]"),
        initiative(3, tasks_todo=0, tasks_in_progress=0, status="at_risk", status_group="blocked"),
        initiative(4, days_since_movement=12.0, is_overdue=True, due_on=date(2026, 3, 9)),
        initiative(5, decisions_pending=1, oldest_pending_hours=2.0),
        initiative(6, status_group="paused", tasks_blocked=9),
    ]
    expected = "4 of 5 initiatives under way are stalled, most often because no task is open (2)"
    assert finding("stalls", rows) == expected
    cells = [row for part in draw("stalls", rows)["datasets"].values() for row in part if row.get("held")]
    assert {(cell["title"][-1], cell["reason"], cell["text"]) for cell in cells} == {
        ("1", "tasks blocked", "2"),
        ("1", "decisions pending", "1, 3.0 d"),
        ("2", "nothing open", "none"),
        ("2", "nobody assigned", "none"),
        ("3", "nothing open", "none"),
        ("3", "status blocked", "at risk"),
        ("4", "no change", "12 d"),
        ("4", "past due", "9 Mar"),
    }


def test_nothing_stalls_where_all_is_well() -> None:
    assert finding("stalls", [initiative(1)]) == "No stalled initiatives (1 under way)"


def test_throughput_compares_four_whole_weeks_with_the_four_before() -> None:
    # The first day is a Monday; the 57th is one too, and its week is not over.
    rows = [agent_day(day, tasks_done=2 if day < 28 else 3) for day in range(57)]
    assert finding("throughput", rows) == "Agents finish 21 tasks a week, 50 % more than in the four weeks before"
    assert values(draw("throughput", rows), "count") == [14.0] * 4 + [21.0] * 4


def test_the_week_of_the_last_read_is_not_over() -> None:
    assert len(values(draw("throughput", [agent_day(day, tasks_done=1) for day in range(14)]), "count")) == 1
    assert len(values(draw("throughput", [agent_day(day, tasks_done=1) for day in range(15)]), "count")) == 2


def test_throughput_leaves_out_what_nobody_could_see_yet() -> None:
    unseen = dict.fromkeys(("tasks_done", "artifacts_approved"))
    rows = [agent_day(day, runs_completed=1, **(unseen if day < 15 else {"tasks_done": 1})) for day in range(30)]
    assert values(draw("throughput", rows), "count") == [7.0]
    assert values(draw("throughput", rows, "runs_completed"), "count") == [7.0] * 4


def test_timeline_counts_only_time_that_was_seen() -> None:
    rows = [piece(0, 30, "running"), piece(30, 40, "blocked"), piece(40, 50, "idle"), piece(50, 100, "unknown")]
    expected = "Agents were running for 60 % and blocked for 20 % of the time in which they were seen"
    assert finding("timeline", rows) == expected
    assert "hatched: unknown (50 % of the time)" in how("timeline", rows)


def test_timeline_shows_thirty_days() -> None:
    rows = [piece(0, 24 * 20, "running"), piece(24 * 20, 24 * 40, "idle")]
    assert min(values(draw("timeline", rows), "from")) == (NOW + timedelta(days=10)).isoformat()
    assert finding("timeline", rows).startswith("Agents were running for 33 %")


def test_two_agents_of_one_name_have_two_lanes() -> None:
    rows = [piece(0, 9, "running", "Pace", "p1"), piece(0, 9, "idle", "Pace", "p2"), piece(0, 9, "idle")]
    assert set(values(draw("timeline", rows), "agent")) == {"Pace (p1)", "Pace (p2)", "Eli"}


def test_blockages_add_up_the_time_per_agent_and_task() -> None:
    rows = [
        piece(0, 48, "blocked", current_task="T1"),
        piece(48, 96, "running"),
        piece(96, 168, "blocked", current_task="T2"),
        piece(168, 216, "unknown"),
        piece(0, 96, "blocked", "Sage"),
    ]
    assert finding("blockages", rows) == "Agents were blocked for 9.0 d in total, Eli the longest (5.0 d)"
    spec = draw("blockages", rows)
    assert values(spec, "name") == ["Eli, longest on: T2", "Sage, longest on: no task named"]
    assert values(spec, "note") == ["5.0 d, 71 %", "4.0 d, 100 %"]


def test_a_name_with_a_hyphen_stays_one_word_in_a_title() -> None:
    rows = [usage("total", 5.0), usage("model", 4.0, "a-rather-long-name-of-a-model")]
    assert "a-rather-long-name-of-a-model" in finding("counted_cost", rows)


def test_what_is_estimated_looks_different_from_what_is_counted() -> None:
    def look(name: str) -> tuple[Any, Any]:
        layer = draw(name, EVERY[name])["layer"][0]
        return layer["encoding"]["color"]["scale"]["range"], layer["mark"]["strokeDash"]

    assert look("cost_per_week") == look("cost_per_outcome")
    estimated, counted = look("cost_per_week"), look("counted_cost")
    assert all(one != other for one, other in zip(estimated, counted, strict=True))


def test_cost_per_artifact_is_all_cost_over_all_approvals_since_these_are_known() -> None:
    rows = [
        agent_day(0, tasks_done=None, artifacts_approved=None, cost_usd=100.0),
        agent_day(1, artifacts_approved=1, cost_usd=2.0),
        agent_day(2, artifacts_approved=3, cost_usd=4.0),
        agent_day(2, "Sage", artifacts_approved=1, cost_usd=4.5),
        agent_day(2, "Xandy", cost_usd=7.0),
    ]
    assert finding("cost_per_artifact", rows) == "An approved artifact costs $2.10: $1.50 for Eli, $4.50 for Sage"
    assert "Excludes 1 agent with costs but no approvals." in how("cost_per_artifact", rows)


def test_decision_waits_leave_out_what_nobody_answered() -> None:
    rows = [
        *(decision(n, float(n)) for n in range(1, 12)),
        decision(20, 900.0, "cancelled"),
        decision(21, 99.0, "pending"),
    ]
    expected = "Half of the decisions were answered within 6.0 h; one in ten took longer than 10 h"
    assert finding("decision_waits", rows) == expected
    assert "Excludes 1 withdrawn decision." in how("decision_waits", rows)
    assert sorted(values(draw("decision_waits", rows), "what")) == ["answered"] * 11 + ["still waiting"]


def test_the_axis_of_waits_has_names_that_people_use() -> None:
    text = json.dumps(draw("decision_waits", [decision(1, 100.0)]))
    assert all(f"'{name}'" in text for name in ("1 min", "1 h", "1 d", "3 d"))
    assert "'30 d'" not in text


def test_decisions_open_compares_averages() -> None:
    rows = [org_day(day, 1 if day < 28 else 3, asked=1) for day in range(56)]
    assert (
        finding("decisions_open", rows)
        == "3 decisions are waiting now; 3.0 on average in the last four weeks, 1.0 in the four weeks before"
    )


def test_waiting_now_has_the_longest_first_and_says_what_it_holds_up() -> None:
    rows = [
        decision(1, 5.0, "pending"),
        decision(2, 50.0, "pending", "high", blocks_task=True, blocked_task_title="Launch"),
        decision(3, 500.0),
    ]
    expected = "2 decisions are waiting for a human, the longest for 2.1 d; 1 blocks a task"
    assert finding("waiting_now", rows) == expected
    assert values(draw("waiting_now", rows), "who") == ["Asked by Eli, blocks Launch", "Asked by Eli"]


@pytest.mark.parametrize(
    ("hours", "said"),
    [(0.001, "1 min"), (0.9, "54 min"), (1.0, "1.0 h"), (30.0, "30 h"), (72.0, "3.0 d"), (400.0, "17 d")],
)
def test_lengths_of_time_read_well(hours: float, said: str) -> None:
    assert say_hours(hours) == said


# -- estimates -----------------------------------------------------------------------------------------------------


def test_survival_is_as_counted_by_hand() -> None:
    # Five are watched; one each is answered after 1, 2 and 4 hours, and two are still open after 3 and 5.
    points = estimate_survival([(1, True), (2, True), (3, False), (4, True), (5, False)])
    assert [(point.hours, point.at_risk) for point in points] == [(1, 5), (2, 4), (4, 2)]
    assert [point.share for point in points] == pytest.approx([4 / 5, 3 / 5, 3 / 10])
    # Greenwood for the second: 1/(5*4) + 1/(4*3), on the scale of log(-log).
    reach = Z95 * math.sqrt(1 / 20 + 1 / 12) / -math.log(0.6)
    assert (points[1].low, points[1].high) == pytest.approx((0.6 ** math.exp(reach), 0.6 ** math.exp(-reach)))
    assert all(0 <= point.low < point.share < point.high <= 1 for point in points)
    assert share_after(points, 0.5).share == 1
    assert share_after(points, 3.9).share == pytest.approx(0.6)


def test_survival_counts_those_that_end_together_once_and_before_those_that_are_lost_then() -> None:
    (point,) = estimate_survival([(2, True), (2, True), (2, False), (2, False)])
    assert (point.share, point.at_risk) == (0.5, 4)


def test_survival_without_open_ones_ends_at_zero() -> None:
    points = estimate_survival([(1, True), (3, True)])
    assert points[-1].share == 0
    assert points[-1].low == 0 < points[-1].high < 1


def test_open_decisions_raise_the_share_that_waits() -> None:
    answered = [decision(n, hours) for n, hours in enumerate((1.0, 1.0, 2.0, 2.0, 30.0, 31.0))]
    still = [decision(n, 10.0, "pending") for n in range(6, 12)]
    assert finding("decision_survival", answered).startswith(
        "Estimate: 33 % of decisions are still waiting after a day"
    )
    assert finding("decision_survival", answered + still).startswith(
        "Estimate: 67 % of decisions are still waiting after a day"
    )


def test_a_steady_rate_gives_its_date_and_no_doubt() -> None:
    found = forecast_remaining(steady(43, 2, 104))
    assert found is not None
    assert (found.remaining, found.done_per_day, found.added_per_day) == (20, 2.0, 0.0)
    assert found.ends == (DAY + timedelta(days=52),) * 3
    assert (
        finding("forecast", steady(43, 2, 104))
        == "Estimate: without new tasks, the 20 open tasks will be done on 4 Jun"
    )


def uneven(days: int = 60) -> list[Row]:
    done, rows = 0, []
    for day in range(days):
        done += (0, 0, 5, 1, 0, 3, 0, 8, 0)[day % 9]
        rows.append(progress(day, 1, 150, done))
    return rows


def test_the_band_of_a_forecast_holds_its_line_and_widens() -> None:
    found = forecast_remaining(uneven())
    assert found is not None
    assert all(low <= middle <= high for _, low, middle, high, _ in found.days)
    widths = [high - low for _, low, _, high, _ in found.days]
    assert widths[0] == 0 < widths[7] < max(widths[8:])
    early, middle, late = found.ends
    assert early and middle and late and early < middle < late
    assert finding("forecast", uneven()).endswith("the 39 open tasks will be done between 29 Jun and 6 Jul")
    assert "Band: 80 % of 1,000 simulations without new tasks." in how("forecast", uneven())


def test_a_forecast_is_the_same_for_the_same_rows() -> None:
    assert forecast_remaining(uneven()) == forecast_remaining(uneven()[::-1])
    assert forecast_remaining(uneven()) != forecast_remaining(uneven(), seed=8)


def test_a_forecast_tells_work_that_is_added_from_work_that_is_done() -> None:
    rows = [progress(day, 1, 50 + day, day) for day in range(50)]
    found = forecast_remaining(rows)
    assert found is not None
    assert (found.remaining, found.done_per_day, found.added_per_day) == (50, 1.0, 1.0)
    assert {growing for *_, growing in found.days} == {50.0}
    faster = forecast_remaining([progress(day, 1, 50 + 3 * day, day) for day in range(50)])
    assert faster is not None
    assert faster.added_per_day == 3.0
    assert [growing for *_, growing in faster.days][:3] == [148.0, 150.0, 152.0]


def test_added_tasks_are_counted_and_never_negative() -> None:
    # One initiative loses four tasks, is closed with others open, and another gets three new ones.
    rows = [progress(day, 1, 20 if day < 30 else 16, day // 5) for day in range(50)]
    rows += [progress(day, 2, 90, 0, status="active" if day < 25 else "closed") for day in range(50)]
    rows += [progress(day, 3, 5 if day < 40 else 8, 2) for day in range(10, 50)]
    found = forecast_remaining(rows)
    assert found is not None
    # Three that were open when the third was first seen, and three later.
    assert found.added_per_day * 49 == pytest.approx(6)
    assert count_added(rows, DAY, done_too=True) == 8
    assert forecast_remaining(rows[:42]) is None


def test_estimates_are_dashed_and_counted_numbers_are_not() -> None:
    def dashes(name: str) -> list[bool]:
        marks = [layer["mark"] for layer in draw(name, EVERY[name])["layer"] if "mark" in layer]
        return ["strokeDash" in mark for mark in marks if mark["type"] in ("line", "rule")]

    assert dashes("forecast") == [True, True, False]
    assert dashes("decision_survival") == [True]
    for name in EVERY.keys() - {"forecast", "decision_survival"}:
        assert not any(dashes(name)), name
        assert not finding(name, EVERY[name]).startswith("Estimate")


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        ([2.0], "1 decision answered, after 2.0 h"),
        ([70.0, 1.0, 2.5, 4.0], "4 decisions answered, after 1.0, 2.5, 4.0 and 70.0 h"),
        ([1.0, 2.0, 3.0, 4.0, 5.0], "Half of the decisions were answered within 3.0 h; the longest wait was 5.0 h"),
    ],
)
def test_few_waits_are_shown_as_single_cases(hours: list[float], said: str) -> None:
    rows = [decision(number, wait) for number, wait in enumerate(hours)]
    assert finding("decision_waits", rows) == said
    assert bool(values(draw("decision_waits", rows), "middle")) == (len(hours) >= 5)
    is_estimated = finding("decision_survival", rows).startswith("Estimate:")
    assert is_estimated == (len(hours) >= 5)


@pytest.mark.parametrize("name", charts.__all__)
def test_a_chart_of_a_frame_is_that_of_its_rows(name: str) -> None:
    frame = pd.DataFrame(EVERY[name])
    for column in frame:
        kind = "Int64" if pd.api.types.is_integer_dtype(frame[column]) else None
        kind = "boolean" if pd.api.types.is_bool_dtype(frame[column]) else kind
        kind = "datetime64[s]" if column in ("day", "due_on") else kind
        kind = "category" if column in ("status_group", "urgency", "status") else kind
        kind = "string" if column in ("title", "asked_by", "agent_name", "current_task", "initiative_title") else kind
        frame[column] = frame[column].astype(kind) if kind else frame[column]
    assert draw(name, rows_of(frame)) == draw(name, EVERY[name])
    assert getattr(charts, name)(frame).to_dict() == draw(name, EVERY[name])
    assert getattr(charts, name)(frame.iloc[:0]).to_dict() == draw(name, [])


def test_what_is_done_when_an_initiative_is_first_seen_is_no_work_of_that_day() -> None:
    rows = [*steady(46, 1, 75), *(progress(day, 2, 40, 30) for day in range(20, 46))]
    found = forecast_remaining(rows)
    assert found is not None
    assert (found.remaining, found.done_per_day) == (40, 1.0)


def test_finished_initiatives_have_no_open_tasks_but_their_work_counts() -> None:
    rows = [*steady(46, 1, 75), *(progress(day, 2, 90, day, status="closed") for day in range(46))]
    found = forecast_remaining(rows)
    assert found is not None
    assert (found.remaining, found.done_per_day) == (30, 2.0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (steady(42, 1, 60), "A forecast needs 6 weeks of history"),
        (steady(50, 1, 49), "No open tasks to forecast"),
        (
            [progress(day, 1, 9, 4) for day in range(50)],
            "Estimate: at the recent rate, the 5 open tasks will not be done within half a year",
        ),
    ],
)
def test_a_forecast_that_cannot_be_made_says_why(rows: list[Row], said: str) -> None:
    assert finding("forecast", rows) == said


def test_a_forecast_looks_no_further_than_half_a_year() -> None:
    found = forecast_remaining([progress(day, 1, 5000, day) for day in range(60)])
    assert found is not None
    assert found.ends == (None, None, None)
    assert len(found.days) == HORIZON_DAYS + 1


@pytest.mark.parametrize(("share", "found"), [(0, 1), (0.5, 2.5), (1, 4), (0.25, 1.75)])
def test_quantiles_lie_between_the_nearest_numbers(share: float, found: float) -> None:
    assert quantile([4, 1, 3, 2], share) == found


# -- rows as they come ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", charts.__all__)
def test_the_order_of_the_rows_does_not_matter(name: str) -> None:
    def comparable(rows: list[Row]) -> list[str]:
        return sorted(json.dumps(rows, sort_keys=True) for rows in draw(name, rows)["datasets"].values())

    assert finding(name, EVERY[name]) == finding(name, EVERY[name][::-1])
    assert comparable(EVERY[name]) == comparable(EVERY[name][::-1])


HOSTILE: dict[str, Callable[[Row], Row]] = {
    "portfolio": lambda row: row | {"title": None, "days_since_movement": None},
    "stalls": lambda row: row | {"title": None, "owner_agents": None, "tasks_blocked": 1},
    "decision_waits": lambda row: row | {"title": None, "asked_by": None},
    "waiting_now": lambda row: row | {"title": None, "asked_by": None, "asked_at": None},
    "timeline": lambda row: row | {"agent_name": None},
    "throughput": lambda row: row | {"agent_name": None},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nulls_do_not_hinder_a_picture(name: str) -> None:
    spec = draw(name, map(HOSTILE[name], EVERY[name]))
    assert vl_convert.vegalite_to_png(json.dumps(spec))


def test_a_decision_without_a_time_is_left_out() -> None:
    rows = [*(decision(n, 2.0) for n in range(5)), decision(6, 0.0) | {"hours_waiting": None}]
    assert "from 5 decisions;" in how("decision_survival", rows)


def test_the_charts_are_imported_without_the_grammars_that_take_seconds() -> None:
    assert find_spec("rfc3987_syntax"), "else this test notices nothing"
    code = "import sys, orgx_source.charts; sys.exit('lark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
