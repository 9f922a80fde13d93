"""Pictures of decisions: how long they wait for a human, how many do, and who and what waits now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import altair as alt

from orgx_source.charts.estimates import estimate_survival, quantile, share_after
from orgx_source.charts.findings.rows import Rows, number, until_tomorrow
from orgx_source.charts.findings.wording import plural, say_day, say_hours, say_time
from orgx_source.charts.style import (
    BLUE,
    FAINT,
    INK,
    LANE_PIXELS,
    ORANGE,
    TRACK,
    URGENCY_COLOURS,
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

# Nobody answered these: they were taken back, or replaced by another question.
WITHDRAWN = ("cancelled", "superseded")
MOST_WAITING = 20
MOST_DAYS = 182
# Hours with a name; the logarithmic axis has its ticks at these.
TICKS = {
    1 / 60: "1 min",
    1 / 6: "10 min",
    1.0: "1 h",
    6.0: "6 h",
    24.0: "1 d",
    72.0: "3 d",
    168.0: "1 w",
    720.0: "30 d",
}
LEAST_HOURS = 1 / 60
# A steady scatter: neighbours in time land far apart in height.
GOLDEN = 0.6180339887


def decision_waits(rows: Rows) -> Chart:
    """Draw how long decisions waited, one lane per urgency, one dot per decision.

    Args:
        rows: Rows of ``decision_latency``.
    """
    answered = [row for row in rows if not row["is_open"] and row["outcome"] not in WITHDRAWN and _knows(row)]
    waiting = [row for row in rows if row["is_open"] and _knows(row)]
    if not answered:
        return nothing("No decision was answered yet")
    by_urgency: dict[str, list[float]] = defaultdict(list)
    for row in answered:
        by_urgency[row["urgency"]].append(number(row["hours_waiting"]))
    order = [name for name in URGENCY_COLOURS if any(row["urgency"] == name for row in (*answered, *waiting))]
    labels, middles = [], []
    for lane, name in enumerate(order):
        hours = by_urgency[name]
        labels.append(
            (name, f"{len(hours)} answered, median {say_hours(quantile(hours, 0.5))}" if hours else "none answered")
        )
        if hours:
            low, middle, high = (max(LEAST_HOURS, quantile(hours, share)) for share in (0.25, 0.5, 0.75))
            middles.append({"low": low, "middle": middle, "high": high, "top": lane + 0.38, "bottom": lane + 0.96})
    dots = [
        {
            "hours": max(LEAST_HOURS, number(row["hours_waiting"])),
            "level": order.index(row["urgency"]) + 0.42 + 0.5 * (index * GOLDEN % 1),
            "what": "still waits" if row["is_open"] else "answered",
            "title": row["title"],
            "asked_by": row["asked_by"],
            "long": say_hours(number(row["hours_waiting"])),
            "outcome": row["outcome"],
            "urgency": row["urgency"],
        }
        for index, row in enumerate(sorted((*answered, *waiting), key=lambda row: number(row["hours_waiting"])))
    ]
    count, longest = len(order), max(dot["hours"] for dot in dots)
    tooltip = [
        alt.Tooltip("title:N", title="decision"),
        alt.Tooltip("urgency:N"),
        alt.Tooltip("asked_by:N", title="asked by"),
        alt.Tooltip("long:N", title="waited"),
        alt.Tooltip("outcome:N"),
    ]
    shape = alt.Scale(domain=["answered", "still waits"], range=["circle", "triangle-right"])
    points = (
        alt.Chart(inline(dots))
        .mark_point(filled=True, size=42, opacity=0.6)
        .encode(
            x=_hours_axis("hours", longest, "time from asked to answered (logarithmic)"),
            y=lane_y("level", count),
            color=alt.Color(
                "what:N", scale=alt.Scale(domain=["answered", "still waits"], range=[BLUE, ORANGE]), legend=legend(2)
            ),
            shape=alt.Shape("what:N", scale=shape, legend=legend(2)),
            tooltip=tooltip,
        )
    )
    base = alt.Chart(inline(middles)).encode(y=lane_y("top", count), y2="bottom:Q")
    boxes = base.mark_rect(color=TRACK).encode(x=_hours_axis("low", longest), x2="high:Q")
    medians = base.mark_rule(color=INK, strokeWidth=2.5).encode(x=_hours_axis("middle", longest))
    everything = [number(row["hours_waiting"]) for row in answered]
    withdrawn = sum(row["outcome"] in WITHDRAWN for row in rows)
    left_out = f" {withdrawn} that were withdrawn are left out." if withdrawn else ""
    return finish(
        boxes + points + medians + lane_names(labels, 190),
        f"Half of the decisions are answered within {say_hours(quantile(everything, 0.5))}, "
        f"one in ten takes longer than {say_hours(quantile(everything, 0.9))}",
        "One dot per decision; dark line: median; grey: the middle half. Of what still waits the end is not known."
        f"{left_out}",
        (LANE_PIXELS + 34) * count,
    )


def decision_survival(rows: Rows) -> Chart:
    """Draw the share of decisions that still wait after so much time, those that are open now counted rightly.

    Args:
        rows: Rows of ``decision_latency``.
    """
    waits = [
        (number(row["hours_waiting"]), not row["is_open"] and row["outcome"] not in WITHDRAWN)
        for row in rows
        if _knows(row)
    ]
    points = estimate_survival(waits)
    if not points:
        return nothing("No decision was answered yet")
    longest = max(hours for hours, _ in waits)
    start = share_after(points, LEAST_HOURS)
    curve = [
        {
            "hours": max(LEAST_HOURS, hours),
            "long": say_hours(hours),
            "share": 100 * point.share,
            "low": 100 * point.low,
            "high": 100 * point.high,
            "at_risk": point.at_risk,
        }
        for hours, point in [
            (LEAST_HOURS, start),
            *((point.hours, point) for point in points if point.hours > LEAST_HOURS),
            (longest, points[-1]),
        ]
    ]
    base = alt.Chart(inline(curve)).encode(
        x=_hours_axis("hours", longest, "time since it was asked (logarithmic)"),
        tooltip=[
            alt.Tooltip("long:N", title="after"),
            alt.Tooltip("share:Q", title="still waiting (%)", format=".0f"),
            alt.Tooltip("low:Q", title="at least (%)", format=".0f"),
            alt.Tooltip("high:Q", title="at most (%)", format=".0f"),
            alt.Tooltip("at_risk:Q", title="decisions watched so long"),
        ],
    )
    y = alt.Y("share:Q", title="still waiting (%)", scale=alt.Scale(domain=[0, 100]))
    marks = [share_after(points, hours) for hours in (1.0, 24.0)]
    places = [
        {"hours": hours, "share": 100 * point.share, "text": f"{100 * point.share:.0f} % after {name}"}
        for hours, name, point in zip((1.0, 24.0), ("1 h", "1 d"), marks, strict=True)
        if hours <= longest
    ]
    spots = alt.Chart(inline(places)).encode(x=_hours_axis("hours", longest), y=alt.Y("share:Q"))
    layers = (
        base.mark_area(color=BLUE, opacity=0.2, interpolate="step-after").encode(
            y=alt.Y("low:Q", title="still waiting (%)"), y2="high:Q"
        )
        + base.mark_line(color=BLUE, interpolate="step-after", strokeWidth=2).encode(y=y)
        + spots.mark_point(filled=True, size=60, color=INK, opacity=1)
        + spots.mark_text(align="left", baseline="bottom", dx=6, dy=-6, color=INK).encode(text="text:N")
    )
    censored = sum(not ended for _, ended in waits)
    point, when = (marks[1], "a day") if longest >= 24 else (marks[0], "an hour")
    return finish(
        layers,
        f"{100 * point.share:.0f} % of the decisions still wait after {when} "
        f"(95 % sure: {100 * point.low:.0f} to {100 * point.high:.0f} %)",
        f"Kaplan-Meier estimate from {plural(len(waits), 'decision')}; {censored} open or withdrawn count only for as "
        "long as they were watched. Band: 95 % confidence.",
        260,
    )


def decisions_open(rows: Rows) -> Chart:
    """Draw how many decisions waited at the end of each day.

    Args:
        rows: Rows of ``org_daily``.
    """
    known = sorted((row for row in rows if row["decisions_open"] is not None), key=lambda row: row["day"])
    if not any(row["decisions_open"] or row["decisions_asked"] for row in known):
        return nothing("No decisions yet")
    last = known[-1]
    recent = [number(row["decisions_open"]) for row in known if row["day"] > last["day"] - timedelta(days=28)]
    earlier = [
        number(row["decisions_open"])
        for row in known
        if last["day"] - timedelta(days=56) < row["day"] <= last["day"] - timedelta(days=28)
    ]
    data = [
        {
            "day": row["day"],
            "label": say_day(row["day"]),
            "open": number(row["decisions_open"]),
            "asked": row["decisions_asked"],
            "settled": row["decisions_settled"],
        }
        for row in known
    ]
    for index, row in enumerate(data):
        window = data[max(0, index - 27) : index + 1]
        row["mean"] = sum(other["open"] for other in window) / len(window)
    base = alt.Chart(inline(until_tomorrow(data[-MOST_DAYS:]))).encode(
        x=days_axis("day"),
        tooltip=[
            alt.Tooltip("label:N", title="day"),
            alt.Tooltip("open:Q", title="open at its end"),
            alt.Tooltip("asked:Q", title="asked that day"),
            alt.Tooltip("settled:Q", title="settled that day"),
            alt.Tooltip("mean:Q", title="average of 28 days", format=".1f"),
        ],
    )
    names = ["open at the end of the day", "average of 28 days"]
    scale = alt.Scale(domain=names, range=[ORANGE, INK])
    layers = base.transform_calculate(what=f"'{names[0]}'").mark_area(interpolate="step-after", opacity=0.75).encode(
        y=alt.Y("open:Q", title="open decisions", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("what:N", scale=scale, legend=legend(2)),
    ) + base.transform_calculate(what=f"'{names[1]}'").mark_line(strokeWidth=2).encode(
        y="mean:Q", color=alt.Color("what:N", scale=scale)
    )
    now = int(last["decisions_open"])
    average = sum(recent) / len(recent)
    before = f", {sum(earlier) / len(earlier):.1f} in the four before" if len(earlier) == 28 else ""
    return finish(
        layers,
        f"{plural(now, 'decision')} {'waits' if now == 1 else 'wait'} now; {average:.1f} on average in the last four "
        f"weeks{before}",
        "Counted at the end of each day (UTC): what was asked and answered within a day is not in it.",
        220,
    )


def waiting_now(rows: Rows) -> Chart:
    """Draw the decisions that wait for a human now, the longest first, with who asks and what stands still.

    Args:
        rows: Rows of ``decision_latency``.
    """
    found = sorted(
        (row for row in rows if row["is_open"]), key=lambda row: (-number(row["hours_waiting"]), row["decision_id"])
    )
    if not found:
        return nothing("No decision waits for anybody")
    shown = found[:MOST_WAITING]
    count, longest = len(shown), max(number(row["hours_waiting"]) for row in shown)
    unit, hours_per = ("days", 24) if longest >= 48 else ("hours", 1)
    data = [
        {
            "top": lane + 0.62,
            "bottom": lane + 0.84,
            "under": lane + 0.56,
            "wait": number(row["hours_waiting"]) / hours_per,
            "long": say_hours(number(row["hours_waiting"])),
            "title": row["title"],
            "urgency": row["urgency"],
            "asked": say_time(row["asked_at"]) if row["asked_at"] else "unknown",
            "asked_by": row["asked_by"] or "unknown",
            "initiative": row["initiative_title"] or "none",
            "who": f"{row['asked_by'] or 'Somebody'} asks"
            + (f", blocked: {row['blocked_task_title'] or 'a task'}" if row["blocks_task"] else "")
            + (", overdue" if row["is_overdue"] else ""),
        }
        for lane, row in enumerate(shown)
    ]
    used = [name for name in URGENCY_COLOURS if any(row["urgency"] == name for row in data)]
    base = alt.Chart(inline(data)).encode(
        tooltip=[
            alt.Tooltip("title:N", title="decision"),
            alt.Tooltip("asked_by:N", title="asked by"),
            alt.Tooltip("asked:N"),
            alt.Tooltip("long:N", title="waits for"),
            alt.Tooltip("urgency:N"),
            alt.Tooltip("initiative:N"),
        ]
    )
    bars = base.mark_rect().encode(
        x=alt.X(
            "wait:Q",
            title=f"{unit} waiting",
            axis=alt.Axis(grid=False, tickCount=6),
            scale=alt.Scale(domainMin=0, nice=False),
        ),
        x2=alt.datum(0),
        y=lane_y("top", count),
        y2="bottom:Q",
        color=alt.Color("urgency:N", scale=colours(used, URGENCY_COLOURS), legend=legend()),
    )
    who = base.mark_text(align="left", baseline="bottom", color=FAINT, fontSize=11, limit=alt.expr("width")).encode(
        x=alt.value(0), y=lane_y("under", count), text="who:N"
    )
    blocking = sum(bool(row["blocks_task"]) for row in found)
    rest = f" The {count} longest of {len(found)}." if len(found) > count else ""
    return finish(
        bars + who + lane_names([(row["title"], row["long"]) for row in data], 50),
        f"{plural(len(found), 'decision')} {'waits' if len(found) == 1 else 'wait'} for a human, the longest for "
        f"{say_hours(number(found[0]['hours_waiting']))}; {blocking} {'holds' if blocking == 1 else 'hold'} up a task",
        f"Counted to the last read. Colour: urgency.{rest}",
        (LANE_PIXELS + 20) * count,
    )


def _knows(row: Mapping[str, Any]) -> bool:
    return row["hours_waiting"] is not None


def _hours_axis(field: str, longest: float, title: str | None = None) -> alt.X:
    """Return a logarithmic axis whose ticks people can read."""
    top = max(1.0, 1.1 * longest)
    values = [hours for hours in TICKS if hours <= top]
    names = ", ".join(f"'{TICKS[hours]}'" for hours in values)
    label = f"[{names}][indexof([{', '.join(repr(value) for value in values)}], datum.value)]"
    axis = alt.Axis(values=values, labelExpr=label, grid=True, labelOverlap=True)
    scale = alt.Scale(type="log", domain=[LEAST_HOURS, top], nice=False)
    return alt.X(f"{field}:Q", title=title, scale=scale, axis=axis)
