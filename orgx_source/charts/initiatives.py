"""Pictures of initiatives: where they are, how they got there, what holds them, and when they may be done."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import altair as alt

from orgx_source.charts.estimates import FINISHED, LEAST_DAYS, PATHS, forecast_remaining
from orgx_source.charts.findings.rows import Rows, number, until_tomorrow
from orgx_source.charts.findings.wording import plural, say_day, say_days, say_hours
from orgx_source.charts.style import (
    BLUE,
    BOTTOM,
    GREEN,
    INK,
    LANE_PIXELS,
    MOST_LANES,
    ORANGE,
    SKY,
    TOP,
    TRACK,
    VERMILION,
    Chart,
    colours,
    days_axis,
    finish,
    inline,
    lane_names,
    lane_y,
    legend,
    nothing,
)

STILL_DAYS = 7
PENDING_HOURS = 24
UNDER_WAY = ("active", "blocked")
STATUS_ORDER = ("active", "blocked", "paused", "planned")


def portfolio(rows: Rows) -> Chart:
    """Draw every open initiative with its progress, those that have not moved for longest on top.

    Args:
        rows: Rows of ``initiatives_current``.
    """
    found = sorted(_open(rows), key=lambda row: (-number(row["days_since_movement"]), row["title"] or ""))
    if not found:
        return nothing("No open initiatives yet")
    going = [row for row in found if row["status_group"] in UNDER_WAY]
    still = sum(number(row["days_since_movement"]) >= STILL_DAYS for row in going)
    shown = found[:MOST_LANES]
    count = len(shown)
    bars = [
        {
            "top": lane + TOP,
            "bottom": lane + BOTTOM,
            "title": row["title"],
            "status": row["status_group"],
            "done": number(row["tasks_done_pct"]),
            "full": 100,
            "stated": row["progress_pct"],
            "tasks": f"{row['tasks_done']} of {row['tasks_total'] - row['tasks_dropped']}",
            "moved": say_hours(24 * number(row["days_since_movement"])),
        }
        for lane, row in enumerate(shown)
    ]
    tooltip = [
        alt.Tooltip("title:N", title="initiative"),
        alt.Tooltip("status:N"),
        alt.Tooltip("tasks:N", title="tasks done"),
        alt.Tooltip("stated:Q", title="progress stated (%)"),
        alt.Tooltip("moved:N", title="last change, ago"),
    ]
    base = alt.Chart(inline(bars)).encode(y=lane_y("top", count), y2="bottom:Q", tooltip=tooltip)
    x = alt.X(
        "done:Q",
        title="tasks done (% of those not dropped)",
        scale=alt.Scale(domain=[0, 100], nice=False),
        axis=alt.Axis(grid=False, values=[0, 25, 50, 75, 100]),
    )
    used = [status for status in STATUS_ORDER if any(row["status"] == status for row in bars)]
    track = base.mark_rect(color=TRACK).encode(x=alt.X("full:Q"), x2=alt.datum(0))
    bar = base.mark_rect().encode(
        x=x, x2=alt.datum(0), color=alt.Color("status:N", scale=colours(used), legend=legend())
    )
    stated = base.mark_rule(strokeWidth=3, color=INK).encode(x=alt.X("stated:Q"))
    names = lane_names([(row["title"], f"{row['moved']} ago") for row in bars])
    rest = f" The {count} longest still of {len(found)}." if len(found) > count else ""
    return finish(
        track + bar + stated + names,
        f"{still} of {plural(len(going), 'initiative')} under way {_has(still)} not moved for a week",
        f"Bar: tasks done. Dark line: progress as OrgX states it. At the right: its last change. Colour: status.{rest}",
        LANE_PIXELS * count,
    )


def burn_up(rows: Rows) -> Chart:
    """Draw how many tasks there were and how many were done, in the initiatives that are not closed now.

    Args:
        rows: Rows of ``initiative_progress_daily``.
    """
    last = max((row["day"] for row in rows), default=None)
    kept = {row["initiative_id"] for row in rows if row["day"] == last and row["status_group"] != "closed"}
    done: dict[date, int] = defaultdict(int)
    total: dict[date, int] = defaultdict(int)
    for row in rows:
        if row["initiative_id"] in kept:
            done[row["day"]] += row["tasks_done"] or 0
            total[row["day"]] += (row["tasks_total"] or 0) - (row["tasks_dropped"] or 0)
    if last is None or not total.get(last):
        return nothing("No tasks to burn up yet")
    before = max((day for day in total if day <= last - timedelta(days=28)), default=min(total))
    weeks = plural((last - before).days, "day")
    data = [
        {"day": day, "label": say_day(day), "done": done[day], "total": total[day], "left": total[day] - done[day]}
        for day in sorted(total)
    ]
    tooltip = [
        alt.Tooltip("label:N", title="day"),
        alt.Tooltip("done:Q"),
        alt.Tooltip("total:Q"),
        alt.Tooltip("left:Q", title="still to do"),
    ]
    base = alt.Chart(inline(until_tomorrow(data))).encode(x=days_axis("day"), tooltip=tooltip)
    names = ["to do", "done"]
    scale = alt.Scale(domain=names, range=[SKY, GREEN])
    band = base.transform_calculate(what="'to do'").mark_area(interpolate="step-after")
    area = base.transform_calculate(what="'done'").mark_area(interpolate="step-after")
    layers = band.encode(
        y=alt.Y("total:Q", title="tasks"), y2="done:Q", color=alt.Color("what:N", scale=scale, legend=legend())
    ) + area.encode(y=alt.Y("done:Q"), color=alt.Color("what:N", scale=scale))
    grown, finished = total[last] - total[before], done[last] - done[before]
    return finish(
        layers,
        f"{done[last]:,} of {plural(total[last], 'task')} are done; in {weeks} {finished:,} were finished "
        f"and {abs(grown):,} {'added' if grown >= 0 else 'taken off'}",
        f"Without dropped tasks, and without what is archived or cancelled now: {plural(len(kept), 'initiative')}. "
        "Steps are reads.",
        260,
    )


def progress_lines(rows: Rows) -> Chart:
    """Draw the share of done tasks over time, one lane per open initiative.

    Args:
        rows: Rows of ``initiative_progress_daily``.
    """
    by_initiative: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["day"]):
        by_initiative[row["initiative_id"]].append(row)
    last = max((row["day"] for row in rows), default=None)
    found = [
        lines
        for lines in by_initiative.values()
        if lines[-1]["day"] == last and lines[-1]["status_group"] not in FINISHED
    ]
    if not found or last is None:
        return nothing("No open initiatives to follow yet")
    # No day of an initiative lies before the first read, not even of one that is older.
    first = min(row["day"] for row in rows)
    span = min(28, (last - first).days)
    gains = {lines[0]["initiative_id"]: _gain(lines, first, last - timedelta(days=28)) for lines in found}
    found.sort(key=lambda lines: (gains[lines[0]["initiative_id"]], lines[-1]["title"] or ""))
    shown = found[:MOST_LANES]
    data, labels = [], []
    for lane, lines in enumerate(shown):
        gain = gains[lines[0]["initiative_id"]]
        pct = lines[-1]["tasks_done_pct"]
        share = "no tasks" if pct is None else f"{pct:.0f} %"
        labels.append((lines[-1]["title"], f"{share}, {gain:+d} in {span} d" if span else share))
        for row in until_tomorrow(lines):
            if row["tasks_done_pct"] is not None:
                data.append(
                    {
                        "day": row["day"],
                        "label": say_day(row["day"]),
                        "title": row["title"],
                        "initiative": row["initiative_id"],
                        "status": lines[-1]["status_group"],
                        "done": round(number(row["tasks_done_pct"]), 1),
                        "level": lane + 0.95 - 0.55 * number(row["tasks_done_pct"]) / 100,
                        "ground": lane + 0.95,
                    }
                )
    count = len(shown)
    used = [status for status in STATUS_ORDER if any(row["status"] == status for row in data)]
    base = alt.Chart(inline(data)).encode(
        x=days_axis("day"),
        y=lane_y("level", count),
        detail="initiative:N",
        color=alt.Color("status:N", scale=colours(used), legend=legend()),
        tooltip=[
            alt.Tooltip("title:N", title="initiative"),
            alt.Tooltip("label:N", title="day"),
            alt.Tooltip("done:Q", title="tasks done (%)"),
        ],
    )
    going = [lines for lines in found if lines[-1]["status_group"] in UNDER_WAY]
    still = sum(gains[lines[0]["initiative_id"]] <= 0 for lines in going)
    rest = f" The {count} with the fewest of {len(found)}." if len(found) > count else ""
    under_way = f"{plural(len(going), 'initiative')} under way"
    finding = f"{still} of {under_way} had no task finished in {'four weeks' if span == 28 else plural(span, 'day')}"
    return finish(
        base.mark_area(opacity=0.18, interpolate="step-after").encode(y2="ground:Q")
        + base.mark_line(interpolate="step-after", strokeWidth=1.8)
        + lane_names(labels, 130),
        finding if span else f"{under_way}; what gets done in them shows from the second day on",
        f"Share of done tasks, each lane from 0 to 100 %; it falls when tasks are added. At the right: the share now, "
        f"and tasks finished {'in 28 days' if span == 28 else 'since the first read'}. Colour: status now.{rest}",
        (LANE_PIXELS + 8) * count,
    )


def stalls(rows: Rows) -> Chart:
    """Draw which initiatives stall of those that are under way (active or blocked), and what each of them waits for.

    Args:
        rows: Rows of ``initiatives_current``.
    """
    found = [row for row in rows if row["status_group"] in UNDER_WAY]
    if not found:
        return nothing("No initiatives under way that could stall yet")
    reasons = [(row, _reasons(row)) for row in found]
    stalled = [(row, why) for row, why in reasons if why]
    if not stalled:
        return nothing(f"None of {plural(len(found), 'initiative')} under way stalls")
    stalled.sort(key=lambda pair: (-len(pair[1]), -number(pair[0]["days_since_movement"]), pair[0]["title"] or ""))
    tally = Counter(reason for _, why in stalled for reason in why)
    top, often = max(tally.items(), key=lambda item: (item[1], item[0]))
    shown = stalled[:MOST_LANES]
    cells = [
        {
            "top": lane + TOP,
            "bottom": lane + BOTTOM,
            "middle": lane + (TOP + BOTTOM) / 2,
            "title": row["title"],
            "reason": reason,
            "text": why.get(reason, ""),
            "held": reason in why,
        }
        for lane, (row, why) in enumerate(shown)
        for reason in REASONS
    ]
    count = len(shown)
    axis = alt.Axis(
        orient="top", labelAngle=0, labelExpr="split(datum.label, ' ')", labelPadding=20, domain=False, ticks=False
    )
    base = alt.Chart(inline(cells)).encode(
        x=alt.X("reason:N", sort=list(REASONS), title=None, axis=axis, scale=alt.Scale(paddingInner=0.06)),
        tooltip=[
            alt.Tooltip("title:N", title="initiative"),
            alt.Tooltip("reason:N"),
            alt.Tooltip("text:N", title="so"),
        ],
    )
    boxes = base.mark_rect().encode(
        y=lane_y("top", count),
        y2="bottom:Q",
        color=alt.condition("datum.held", alt.value(VERMILION), alt.value(TRACK)),
        opacity=alt.condition("datum.held", alt.value(0.85), alt.value(1)),
    )
    texts = base.mark_text(fontSize=11, color="white", fontWeight="bold").encode(
        y=lane_y("middle", count), text="text:N"
    )
    names = lane_names([(row["title"], "") for row, _ in shown], 10)
    rest = f" The {count} with the most reasons." if len(stalled) > count else ""
    return finish(
        boxes + texts + names,
        f"{len(stalled)} of {plural(len(found), 'initiative')} under way {'stalls' if len(stalled) == 1 else 'stall'}, "
        f"most often because {REASONS[top]} ({often})",
        "A filled cell is a reason; an initiative may have several. A decision counts when it has waited for a day, no "
        f"change when it has lasted a week.{rest}",
        LANE_PIXELS * count,
    )


def forecast(rows: Rows) -> Chart:
    """Draw the open tasks, and how they go down if the coming weeks are like the last eight.

    Args:
        rows: Rows of ``initiative_progress_daily``.
    """
    found = forecast_remaining(rows)
    if found is None:
        return nothing(f"A forecast needs {LEAST_DAYS} days of history")
    if not found.remaining:
        return nothing("No task is open: nothing to forecast")
    history = [{"day": day, "label": say_day(day), "left": left} for day, left in found.history]
    ahead = [
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
    ]
    names = ["so far", "if none is added", "if added as before"]
    scale = alt.Scale(domain=names, range=[INK, BLUE, ORANGE])
    colour = alt.Color("what:N", scale=scale, legend=legend(3))
    past = alt.Chart(inline(history)).transform_calculate(what=f"'{names[0]}'")
    future = alt.Chart(inline(ahead)).encode(
        x=days_axis("day"),
        tooltip=[
            alt.Tooltip("label:N", title="day"),
            alt.Tooltip("middle:Q", title="open, if none is added", format=".0f"),
            alt.Tooltip("range:N", title="80 % of the lots"),
            alt.Tooltip("growing:Q", title="open, if added as before", format=".0f"),
        ],
    )
    layers = (
        future.mark_area(color=BLUE, opacity=0.2).encode(y=alt.Y("low:Q", title="open tasks"), y2="high:Q")
        + future.transform_calculate(what=f"'{names[2]}'")
        .mark_line(strokeDash=[5, 4], strokeWidth=2)
        .encode(y="growing:Q", color=colour)
        + future.transform_calculate(what=f"'{names[1]}'").mark_line(strokeWidth=2).encode(y="middle:Q", color=colour)
        + past.mark_line(interpolate="step-after", strokeWidth=2).encode(
            x=days_axis("day"),
            y=alt.Y("left:Q"),
            color=colour,
            tooltip=[alt.Tooltip("label:N", title="day"), alt.Tooltip("left:Q", title="open tasks")],
        )
    )
    return finish(
        layers,
        _say_end(found.remaining, found.done_per_day, found.ends),
        f"Assumes weeks like the last {len(found.history) // 7}: {found.done_per_day:.1f} tasks done a day. Band: 80 % "
        f"of {PATHS:,} draws of such weeks. In fact {found.added_per_day:.1f} a day were added.",
        260,
    )


def _say_end(remaining: int, rate: float, ends: tuple[date | None, date | None, date | None]) -> str:
    early, _, late = ends
    tasks = plural(remaining, "open task")
    if rate <= 0 or early is None:
        return f"At the recent rate the {tasks} will not be done within half a year"
    if late is None:
        return f"If none is added, the {tasks} will be done after {say_day(early)}; how long after is open"
    if early == late:
        return f"If none is added, the {tasks} will be done on {say_day(late)}"
    return f"If none is added, the {tasks} will be done between {say_day(early)} and {say_day(late)} (80 % sure)"


def _open(rows: Rows) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["status_group"] not in FINISHED]


def _has(count: int) -> str:
    return "has" if count == 1 else "have"


def _gain(lines: list[Mapping[str, Any]], first: date, since: date) -> int:
    """Return the tasks done after a day, or after the first read; all of them where the initiative is younger."""
    before = [row["tasks_done"] or 0 for row in lines if row["day"] <= max(since, first)]
    return int((lines[-1]["tasks_done"] or 0) - (before[-1] if before else 0))


# Heading of a column, in two words, and the same as the end of a sentence.
REASONS = {
    "status blocked": "OrgX calls them blocked",
    "tasks blocked": "tasks are blocked",
    "decisions pending": "decisions wait",
    "nothing open": "no task is left open",
    "nobody assigned": "no agent is assigned",
    "no change": "nothing changes",
    "past due": "the date has passed",
}


def _reasons(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what holds an initiative, with how much of it there is."""
    found: dict[str, str] = {}
    still = number(row["days_since_movement"])
    if row["status_group"] == "blocked":
        found["status blocked"] = str(row["status"]).replace("_", " ")
    if row["tasks_blocked"]:
        found["tasks blocked"] = str(row["tasks_blocked"])
    if row["decisions_pending"] and number(row["oldest_pending_hours"]) >= PENDING_HOURS:
        found["decisions pending"] = f"{row['decisions_pending']}, {say_hours(number(row['oldest_pending_hours']))}"
    if not (row["tasks_todo"] or row["tasks_in_progress"] or row["tasks_blocked"]):
        found["nothing open"] = "none"
    if not _names(row["owner_agents"]):
        found["nobody assigned"] = "none"
    if still >= STILL_DAYS:
        found["no change"] = say_days(still)
    if row["is_overdue"]:
        due = row["due_on"]
        found["past due"] = say_day(due) if due else "yes"
    return found


def _names(value: Any) -> list[Any]:
    found = json.loads(value) if isinstance(value, str) and value else value
    return found if isinstance(found, list) else []
