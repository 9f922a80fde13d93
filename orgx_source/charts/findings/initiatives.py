"""Content of the initiative charts: current progress, history, reasons for stalling, and forecast."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from orgx_source.charts.estimates import LEAST_DAYS, PATHS, Forecast, count_added, forecast_remaining
from orgx_source.charts.findings.caption import MOST_LANES, Caption, Lane, Mark, Nothing
from orgx_source.charts.findings.rows import FINISHED, RECENT_DAYS, Row, Rows, count_tasks, number, until_tomorrow
from orgx_source.charts.findings.wording import inflected, plural, say_day, say_days, say_hours, say_shown

STILL_DAYS = 7
PENDING_HOURS = 24
UNDER_WAY = ("active", "blocked")
UNKNOWN = "unknown"


def is_still(row: Row) -> bool:
    """Return whether nothing in an initiative has changed for a week."""
    return number(row["days_since_movement"]) >= STILL_DAYS


def longest_still(rows: Iterable[Row]) -> list[Row]:
    """Return initiatives, longest unchanged first."""
    return sorted(rows, key=lambda row: (-number(row["days_since_movement"]), row["title"] or ""))


def not_closed_now(progress: Rows) -> list[Row]:
    """Return the rows of the last day, without initiatives that are closed on it."""
    last = max((row["day"] for row in progress), default=None)
    return [row for row in progress if row["day"] == last and row["status_group"] != "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio(Caption):
    """Open initiatives and their progress.

    Attributes:
        bars: One per initiative.
        lanes: Title of each initiative, and the time since its last change.
    """

    bars: list[Mark]
    lanes: list[Lane]


def describe_portfolio(rows: Rows) -> Portfolio | Nothing:
    """Describe the progress of each open initiative, longest unchanged first.

    Args:
        rows: Rows of ``initiatives_current``.
    """
    found = longest_still(row for row in rows if row["status_group"] not in FINISHED)
    if not found:
        return Nothing("No open initiatives yet")
    going = [row for row in found if row["status_group"] in UNDER_WAY]
    still = sum(is_still(row) for row in going)
    bars = [_progress_bar(lane, row) for lane, row in enumerate(found[:MOST_LANES])]
    under_way = f"{plural(len(going), 'initiative')} under way"
    return Portfolio(
        finding=f"{still} of {under_way} {inflected(still, 'has', 'have')} not changed for a week",
        how="Bar: tasks done. Dark line: progress stated by OrgX. Right: last change. Colour: status."
        f"{say_shown(len(bars), len(found), 'the longest unchanged')}",
        bars=bars,
        lanes=[(bar["title"], UNKNOWN if bar["moved"] == UNKNOWN else f"{bar['moved']} ago") for bar in bars],
    )


def _progress_bar(lane: int, row: Row) -> Mark:
    return {
        "lane": lane,
        "title": row["title"],
        "status": row["status_group"],
        "done": number(row["tasks_done_pct"]),
        "full": 100,
        "stated": row["progress_pct"],
        "tasks": f"{row['tasks_done']} of {count_tasks(row)}",
        "moved": _say_moved(row["days_since_movement"]),
    }


def _say_moved(days: float | None) -> str:
    return UNKNOWN if days is None else say_hours(24 * days)


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnUp(Caption):
    """Tasks and done tasks per day.

    Attributes:
        days: One mark per day.
    """

    days: list[Mark]


def describe_burn_up(rows: Rows) -> BurnUp | Nothing:
    """Describe the number of tasks and of done tasks, in initiatives that are not closed now.

    Args:
        rows: Rows of ``initiative_progress_daily``.
    """
    kept = {row["initiative_id"] for row in not_closed_now(rows)}
    done: Counter[date] = Counter()
    total: Counter[date] = Counter()
    for row in rows:
        if row["initiative_id"] in kept:
            done[row["day"]] += row["tasks_done"] or 0
            total[row["day"]] += count_tasks(row)
    last = max(total, default=None)
    if last is None or not total[last]:
        return Nothing("No tasks yet")
    before = max((day for day in total if day <= last - timedelta(days=RECENT_DAYS)), default=min(total))
    finished = done[last] - done[before]
    added = count_added([row for row in rows if row["initiative_id"] in kept], before, done_too=True)
    dropped = added - (total[last] - total[before])
    days = (last - before).days
    since = f"; in {plural(days, 'day')} {finished:,} were finished, {added:,} added and {dropped:,} dropped"
    return BurnUp(
        finding=f"{done[last]:,} of {plural(total[last], 'task')} are done{since if days else ''}",
        how=f"{plural(len(kept), 'initiative')}. Excludes dropped tasks, and initiatives that are now archived or "
        "cancelled. Changes appear when a read detects them.",
        days=[
            {"day": day, "label": say_day(day), "done": done[day], "total": total[day], "left": total[day] - done[day]}
            for day in sorted(total)
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressLines(Caption):
    """The progress of open initiatives over time.

    Attributes:
        points: One per day and initiative that has tasks; ``done`` is a percentage.
        lanes: Title of the initiative, its current progress, and its number of recently finished tasks.
    """

    points: list[Mark]
    lanes: list[Lane]


@dataclass(frozen=True, slots=True)
class _Line:
    """An initiative: its days in order, and the number of tasks finished in the last four weeks."""

    days: Rows
    gain: int

    @property
    def now(self) -> Row:
        return self.days[-1]


def describe_progress_lines(rows: Rows) -> ProgressLines | Nothing:
    """Describe the daily share of tasks done in each open initiative, fewest recently finished tasks first.

    Args:
        rows: Rows of ``initiative_progress_daily``.
    """
    found = _open_lines(rows)
    if not found:
        return Nothing("No open initiatives yet")
    span = min(RECENT_DAYS, (found[0].now["day"] - min(row["day"] for row in rows)).days)
    shown = found[:MOST_LANES]
    return ProgressLines(
        finding=_say_standstill(found, span),
        how="Share of tasks done, each lane from 0 to 100 %; it falls when tasks are added. Right: current share, and "
        f"tasks finished {'in 28 days' if span == RECENT_DAYS else 'since the first read'}. "
        f"Colour: current status.{say_shown(len(shown), len(found), 'those with the fewest finished tasks')}",
        points=[point for lane, line in enumerate(shown) for point in _progress_points(lane, line)],
        lanes=[(line.now["title"], _say_progress(line, span)) for line in shown],
    )


def _open_lines(rows: Rows) -> list[_Line]:
    """Return the initiatives that are open on the last day, fewest finished tasks first."""
    by_initiative: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["day"]):
        by_initiative[row["initiative_id"]].append(row)
    last = max((row["day"] for row in rows), default=None)
    if last is None:
        return []
    # No initiative has days before the first read, even if it is older.
    since = max(last - timedelta(days=RECENT_DAYS), min(row["day"] for row in rows))
    found = [
        _Line(days, _gain(days, since))
        for days in by_initiative.values()
        if days[-1]["day"] == last and days[-1]["status_group"] not in FINISHED
    ]
    return sorted(found, key=lambda line: (line.gain, line.now["title"] or ""))


def _gain(days: Rows, since: date) -> int:
    """Return the number of tasks finished after a day; all of them if the initiative is newer."""
    before = [row["tasks_done"] or 0 for row in days if row["day"] <= since]
    return int((days[-1]["tasks_done"] or 0) - (before[-1] if before else 0))


def _say_standstill(found: list[_Line], span: int) -> str:
    going = [line for line in found if line.now["status_group"] in UNDER_WAY]
    under_way = f"{plural(len(going), 'initiative')} under way"
    if not span:
        return f"{under_way}; finished tasks are visible from the second day"
    length = "four weeks" if span == RECENT_DAYS else plural(span, "day")
    return f"{sum(line.gain <= 0 for line in going)} of {under_way} finished no task in {length}"


def _say_progress(line: _Line, span: int) -> str:
    pct = line.now["tasks_done_pct"]
    share = "no tasks" if pct is None else f"{pct:.0f} %"
    return f"{share}, {line.gain:+d} in {span} d" if span else share


def _progress_points(lane: int, line: _Line) -> list[Mark]:
    return [
        {
            "day": row["day"],
            "label": say_day(row["day"]),
            "title": row["title"],
            "initiative": row["initiative_id"],
            "status": line.now["status_group"],
            "done": number(row["tasks_done_pct"]),
            "lane": lane,
        }
        for row in until_tomorrow(line.days)
        if row["tasks_done_pct"] is not None
    ]


# Two-word column heading, and the same as a clause.
REASONS = {
    "status blocked": "their status is blocked",
    "tasks blocked": "tasks are blocked",
    "decisions pending": "decisions are pending",
    "nothing open": "no task is open",
    "nobody assigned": "no agent is assigned",
    "no change": "nothing has changed for a week",
    "past due": "they are past due",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalls(Caption):
    """Stalled initiatives and the reasons.

    Attributes:
        cells: One per initiative and reason; ``held`` is whether the reason applies.
        lanes: Title of each initiative.
    """

    cells: list[Mark]
    lanes: list[Lane]


def describe_stalls(rows: Rows) -> Stalls | Nothing:
    """Describe which initiatives under way (active or blocked) are stalled, most reasons first.

    Args:
        rows: Rows of ``initiatives_current``.
    """
    found = [row for row in rows if row["status_group"] in UNDER_WAY]
    if not found:
        return Nothing("No initiatives under way yet")
    under_way = f"{plural(len(found), 'initiative')} under way"
    stalled = [(row, why) for row in longest_still(found) if (why := reasons_to_stall(row))]
    if not stalled:
        return Nothing(f"No stalled initiatives ({len(found):,} under way)")
    stalled.sort(key=lambda pair: -len(pair[1]))
    tally = Counter(reason for _, why in stalled for reason in why)
    top, often = max(tally.items(), key=lambda item: (item[1], item[0]))
    shown = stalled[:MOST_LANES]
    return Stalls(
        finding=f"{len(stalled)} of {under_way} {inflected(len(stalled), 'is', 'are')} stalled, most often because "
        f"{REASONS[top]} ({often})",
        how="A filled cell is a reason; an initiative can have several. Decisions count after a day of waiting, lack "
        f"of change after a week.{say_shown(len(shown), len(stalled), 'those with the most reasons')}",
        cells=[
            {"lane": lane, "title": row["title"], "reason": reason, "text": why.get(reason, ""), "held": reason in why}
            for lane, (row, why) in enumerate(shown)
            for reason in REASONS
        ],
        lanes=[(row["title"], "") for row, _ in shown],
    )


def reasons_to_stall(row: Row) -> dict[str, str]:
    """Return the reasons why an initiative is stalled: a key of `REASONS` to a short detail, such as a count."""
    found: dict[str, str] = {}
    if row["status_group"] == "blocked":
        found["status blocked"] = str(row["status"]).replace("_", " ")
    if row["tasks_blocked"]:
        found["tasks blocked"] = str(row["tasks_blocked"])
    if row["decisions_pending"] and number(row["oldest_pending_hours"]) >= PENDING_HOURS:
        found["decisions pending"] = f"{row['decisions_pending']}, {say_days(number(row['oldest_pending_hours']) / 24)}"
    if not (row["tasks_todo"] or row["tasks_in_progress"] or row["tasks_blocked"]):
        found["nothing open"] = "none"
    if not _names(row["owner_agents"]):
        found["nobody assigned"] = "none"
    if is_still(row):
        found["no change"] = say_days(number(row["days_since_movement"]))
    if row["is_overdue"]:
        found["past due"] = say_day(row["due_on"]) if row["due_on"] else "yes"
    return found


def _names(value: Any) -> list[Any]:
    """Return a list from a column that contains a list or JSON."""
    found = json.loads(value) if isinstance(value, str) and value else value
    return found if isinstance(found, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnDown(Caption):
    """Open tasks so far and in the coming weeks.

    Attributes:
        past: One mark per past day, counted.
        ahead: One mark per future day, estimated: the 10th, 50th and 90th percentile if no tasks are added, and the
            median if the number of open tasks changes as before.
    """

    past: list[Mark]
    ahead: list[Mark]


def describe_forecast(rows: Rows) -> BurnDown | Nothing:
    """Estimate when the open tasks will be done if the coming weeks are like the last eight.

    Args:
        rows: Rows of ``initiative_progress_daily``.
    """
    found = forecast_remaining(rows)
    if found is None:
        return Nothing(f"A forecast needs {LEAST_DAYS // 7} weeks of history")
    if not found.remaining:
        return Nothing("No open tasks to forecast")
    return BurnDown(
        finding=_say_end(found),
        how=f"Solid: counted. Dashed: estimated from the last {(len(found.history) - 1) // 7} weeks, with "
        f"{found.done_per_day:.1f} tasks done and {found.added_per_day:.1f} added per day. Band: 80 % of "
        f"{PATHS:,} simulations without new tasks.",
        past=[{"day": day, "label": say_day(day), "left": left} for day, left in found.history],
        ahead=[
            {
                "day": day,
                "label": say_day(day),
                "low": low,
                "middle": middle,
                "high": high,
                "range": f"{low:.0f} to {high:.0f}",
                "growing": growing,
            }
            for day, low, middle, high, growing in found.days
        ],
    )


def _say_end(found: Forecast) -> str:
    early, _, late = found.ends
    tasks = plural(found.remaining, "open task")
    if found.done_per_day <= 0 or early is None:
        return f"Estimate: at the recent rate, the {tasks} will not be done within half a year"
    if late is None:
        return f"Estimate: without new tasks, the {tasks} will be done after {say_day(early)}"
    when = f"on {say_day(late)}" if early == late else f"between {say_day(early)} and {say_day(late)}"
    return f"Estimate: without new tasks, the {tasks} will be done {when}"
