"""Content of the decision charts: waiting times, numbers of open decisions, and the decisions waiting now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean

from orgx_source.charts.estimates import SurvivalPoint, estimate_survival, quantile, share_after
from orgx_source.charts.findings.caption import Caption, Lane, Mark, Nothing
from orgx_source.charts.findings.rows import RECENT_DAYS, Row, Rows, in_use, number
from orgx_source.charts.findings.wording import inflected, plural, say_day, say_hours, say_shown, say_time

URGENCIES = ("critical", "high", "medium", "low")
# Not answered: withdrawn, or replaced by another question.
WITHDRAWN = ("cancelled", "superseded")
ANSWERED, WAITING = "answered", "still waiting"
MOST_WAITING = 20
MOST_DAYS = 182
# With fewer cases there is no median, tenth or estimate; the cases themselves are listed.
LEAST_CASES, LEAST_FOR_TENTH = 5, 10
# Shorter waits are drawn at the start of the logarithmic axis.
LEAST_HOURS = 1 / 60


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionWaits(Caption):
    """How long decisions waited.

    Attributes:
        longest: Hours of the longest wait.
        dots: One per decision, shortest wait first; ``what`` is `ANSWERED` or `WAITING`.
        quartiles: One per urgency with at least five answered decisions.
        lanes: The urgency, its number of answered decisions and their median in hours; the hours of each if fewer
            than five.
    """

    longest: float
    dots: list[Mark]
    quartiles: list[Mark]
    lanes: list[Lane]


def describe_decision_waits(rows: Rows) -> DecisionWaits | Nothing:
    """Describe how long decisions waited, by urgency.

    Args:
        rows: Rows of ``decision_latency``.
    """
    answered = [row for row in rows if _is_timed(row) and _is_answered(row)]
    if not answered:
        return Nothing("No decisions answered yet")
    shown = sorted([*answered, *(row for row in rows if _is_timed(row) and row["is_open"])], key=_hours)
    order = in_use(URGENCIES, shown, "urgency")
    hours = [_hours(row) for row in answered]
    by_urgency = [[_hours(row) for row in answered if row["urgency"] == name] for name in order]
    dots = [_dot(order.index(row["urgency"]), row) for row in shown]
    withdrawn = sum(row["outcome"] in WITHDRAWN for row in rows)
    excluded = f" Excludes {plural(withdrawn, 'withdrawn decision')}." if withdrawn else ""
    excluded += _say_unknown(rows)
    return DecisionWaits(
        finding=_say_waits(hours),
        how=f"One dot per decision. Dark line: median. Grey: middle half. Both need {LEAST_CASES} answered decisions. "
        f"Decisions still waiting are drawn at their wait so far.{excluded}",
        longest=max(dot["hours"] for dot in dots),
        dots=dots,
        quartiles=[_quartiles(lane, waits) for lane, waits in enumerate(by_urgency) if len(waits) >= LEAST_CASES],
        lanes=[(name, _say_median(waits)) for name, waits in zip(order, by_urgency, strict=True)],
    )


def _hours(row: Row) -> float:
    return number(row["hours_waiting"])


def _is_timed(row: Row) -> bool:
    return row["hours_waiting"] is not None


def _say_unknown(rows: Rows) -> str:
    unknown = sum(not _is_timed(row) and _is_answered(row) for row in rows)
    return f" Excludes {plural(unknown, 'decision')} with an unknown wait." if unknown else ""


def _is_answered(row: Row) -> bool:
    return not row["is_open"] and row["outcome"] not in WITHDRAWN


def _dot(lane: int, row: Row) -> Mark:
    return {
        "hours": max(LEAST_HOURS, _hours(row)),
        "lane": lane,
        "what": WAITING if row["is_open"] else ANSWERED,
        "title": row["title"],
        "asked_by": row["asked_by"],
        "long": say_hours(_hours(row)),
        "outcome": row["outcome"],
        "urgency": row["urgency"],
    }


def _quartiles(lane: int, hours: Sequence[float]) -> Mark:
    low, middle, high = (max(LEAST_HOURS, quantile(hours, share)) for share in (0.25, 0.5, 0.75))
    return {"low": low, "middle": middle, "high": high, "lane": lane}


def _say_waits(hours: Sequence[float]) -> str:
    """Return how long decisions waited, with the statistics that their number allows."""
    if len(hours) < LEAST_CASES:
        return f"{plural(len(hours), 'decision')} answered, after {say_cases(hours)}"
    half = f"Half of the decisions were answered within {say_hours(quantile(hours, 0.5))}"
    if len(hours) < LEAST_FOR_TENTH:
        return f"{half}; the longest wait was {say_hours(max(hours))}"
    return f"{half}; one in ten took longer than {say_hours(quantile(hours, 0.9))}"


def _say_median(hours: Sequence[float]) -> str:
    if not hours:
        return "none answered"
    if len(hours) < LEAST_CASES:
        return f"{len(hours)} answered: {say_cases(hours)}"
    return f"{len(hours)} answered, median {quantile(hours, 0.5):.1f} h"


def say_cases(hours: Sequence[float]) -> str:
    """Return the hours of each of a few waits: ``0.5, 2.0 and 70.0 h``."""
    *others, last = (f"{case:.1f}" for case in sorted(hours))
    return f"{', '.join(others)} and {last} h" if others else f"{last} h"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSurvival(Caption):
    """The share of decisions still waiting after a given time.

    Attributes:
        longest: Hours of the longest wait.
        curve: One mark per step, in percent, with the 95 % confidence interval.
        spots: The labelled points of the curve.
    """

    longest: float
    curve: list[Mark]
    spots: list[Mark]


def describe_decision_survival(rows: Rows) -> DecisionSurvival | Nothing:
    """Estimate the share of decisions still waiting after a given time; open ones count until last seen.

    Args:
        rows: Rows of ``decision_latency``.
    """
    waits = [(_hours(row), _is_answered(row)) for row in rows if _is_timed(row)]
    points = estimate_survival(waits)
    ended = sum(is_end for _, is_end in waits)
    if ended < LEAST_CASES:
        return Nothing(f"No estimate yet: {plural(ended, 'decision')} answered, {LEAST_CASES} needed")
    longest = max(hours for hours, _ in waits)
    hour, day = (share_after(points, hours) for hours in (1.0, 24.0))
    point, when = (day, "a day") if longest >= 24 else (hour, "an hour")
    return DecisionSurvival(
        finding=f"Estimate: {100 * point.share:.0f} % of decisions are still waiting after {when} "
        f"({100 * point.low:.0f} to {100 * point.high:.0f} %)",
        how=f"Kaplan-Meier estimate from {plural(len(waits), 'decision')}; {len(waits) - ended} are open or withdrawn "
        f"and count until last seen. Band and range: 95 % confidence interval.{_say_unknown(rows)}",
        longest=longest,
        curve=_survival_curve(points, longest),
        spots=[
            {"hours": hours, "share": 100 * spot.share, "text": f"{100 * spot.share:.0f} % after {name}"}
            for hours, name, spot in ((1.0, "1 h", hour), (24.0, "1 d", day))
            if hours <= longest
        ],
    )


def _survival_curve(points: Sequence[SurvivalPoint], longest: float) -> list[Mark]:
    """Return the steps from the start of the axis to the longest wait."""
    steps = [
        (LEAST_HOURS, share_after(points, LEAST_HOURS)),
        *((point.hours, point) for point in points if point.hours > LEAST_HOURS),
        (longest, points[-1]),
    ]
    return [
        {
            "hours": max(LEAST_HOURS, hours),
            "long": say_hours(hours),
            "share": 100 * point.share,
            "low": 100 * point.low,
            "high": 100 * point.high,
            "at_risk": point.at_risk,
        }
        for hours, point in steps
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionsOpen(Caption):
    """Number of decisions waiting at the end of each day.

    Attributes:
        days: One mark per day, with the average of the four weeks up to that day.
    """

    days: list[Mark]


def describe_decisions_open(rows: Rows) -> DecisionsOpen | Nothing:
    """Describe how many decisions were waiting at the end of each day.

    Args:
        rows: Rows of ``org_daily``.
    """
    known = sorted((row for row in rows if row["decisions_open"] is not None), key=lambda row: row["day"])
    if not any(row["decisions_open"] or row["decisions_asked"] for row in known):
        return Nothing("No decisions yet")
    days = [
        {
            "day": row["day"],
            "label": say_day(row["day"]),
            "open": number(row["decisions_open"]),
            "asked": row["decisions_asked"],
            "settled": row["decisions_settled"],
        }
        for row in known
    ]
    for index, mark in enumerate(days):
        mark["mean"] = _mean_open(days[max(0, index - RECENT_DAYS + 1) : index + 1])
    now = int(known[-1]["decisions_open"])
    return DecisionsOpen(
        finding=f"{plural(now, 'decision')} {inflected(now, 'is', 'are')} waiting now; {_say_averages(days)}",
        how="Counted at the end of each day (UTC). Decisions asked and answered on the same day are not counted.",
        days=days[-MOST_DAYS:],
    )


def _mean_open(days: Sequence[Mark]) -> float:
    return fmean(mark["open"] for mark in days)


def _say_averages(days: Sequence[Mark]) -> str:
    """Compare the last four weeks with the four weeks before, if every day of those is known."""
    last, weeks = days[-1]["day"], timedelta(days=RECENT_DAYS)
    recent = [mark for mark in days if mark["day"] > last - weeks]
    earlier = [mark for mark in days if last - 2 * weeks < mark["day"] <= last - weeks]
    before = f", {_mean_open(earlier):.1f} in the four weeks before" if len(earlier) == RECENT_DAYS else ""
    return f"{_mean_open(recent):.1f} on average in the last four weeks{before}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingNow(Caption):
    """Decisions waiting for a human now.

    Attributes:
        unit: Unit of ``wait``, the length of a bar: ``days`` or ``hours``.
        bars: One per decision.
        lanes: Title of the decision, and its wait so far.
    """

    unit: str
    bars: list[Mark]
    lanes: list[Lane]


def longest_waiting(rows: Rows) -> list[Row]:
    """Return decisions, longest wait first."""
    return sorted(rows, key=lambda row: (-_hours(row), row["decision_id"]))


def describe_waiting_now(rows: Rows) -> WaitingNow | Nothing:
    """Describe the decisions waiting for a human now, longest first, with who asked and which task is blocked.

    Args:
        rows: Rows of ``decision_latency``.
    """
    found = longest_waiting([row for row in rows if row["is_open"]])
    if not found:
        return Nothing("No decisions are waiting")
    longest = _hours(found[0])
    unit, hours_per = ("days", 24) if longest >= 48 else ("hours", 1)
    bars = [_waiting_bar(lane, row, hours_per) for lane, row in enumerate(found[:MOST_WAITING])]
    blocking = sum(bool(row["blocks_task"]) for row in found)
    return WaitingNow(
        finding=f"{plural(len(found), 'decision')} {inflected(len(found), 'is', 'are')} waiting for a human, "
        f"the longest for {say_hours(longest)}; {blocking} {inflected(blocking, 'blocks', 'block')} a task",
        how=f"Counted up to the last read. Colour: urgency.{say_shown(len(bars), len(found), 'the longest waits')}",
        unit=unit,
        bars=bars,
        lanes=[(bar["title"], f"{bar['wait']:.1f} {unit[0]}") for bar in bars],
    )


def _waiting_bar(lane: int, row: Row, hours_per: int) -> Mark:
    asked = f"Asked by {row['asked_by']}" if row["asked_by"] else "Requester unknown"
    blocked = f", blocks {row['blocked_task_title'] or 'a task'}" if row["blocks_task"] else ""
    return {
        "lane": lane,
        "wait": _hours(row) / hours_per,
        "long": say_hours(_hours(row)),
        "title": row["title"],
        "urgency": row["urgency"],
        "asked": say_time(row["asked_at"]) if row["asked_at"] else "unknown",
        "asked_by": row["asked_by"] or "unknown",
        "initiative": row["initiative_title"] or "none",
        "who": f"{asked}{blocked}{', overdue' if row['is_overdue'] else ''}",
    }
