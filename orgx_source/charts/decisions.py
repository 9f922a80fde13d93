"""Draws the charts of decisions; their content is computed in `findings.decisions`."""

from __future__ import annotations

from orgx_source.charts.findings.caption import Nothing
from orgx_source.charts.findings.decisions import (
    ANSWERED,
    LEAST_HOURS,
    URGENCIES,
    WAITING,
    DecisionSurvival,
    DecisionWaits,
    WaitingNow,
    describe_decision_survival,
    describe_decision_waits,
    describe_decisions_open,
    describe_waiting_now,
)
from orgx_source.charts.findings.rows import Data, in_use, rows_of, until_tomorrow
from orgx_source.charts.quick_altair import alt
from orgx_source.charts.style import (
    BLUE,
    ESTIMATED,
    FAINT,
    INK,
    LANE_PIXELS,
    ORANGE,
    PALE_BLUE,
    TOP,
    TRACK,
    URGENCY_COLOURS,
    Chart,
    colours,
    days_axis,
    finish,
    in_lanes,
    inline,
    lane_names,
    lane_y,
    legend,
    nothing,
)

# Ticks of the logarithmic axis: hours to label.
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
# Repeatable scatter: dots next to each other in time are far apart in height.
GOLDEN = 0.6180339887


def decision_waits(data: Data) -> Chart:
    """Draw how long decisions waited: one lane per urgency, one dot per decision.

    Args:
        data: A DataFrame of ``decision_latency``.
    """
    found = describe_decision_waits(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    count = len(found.lanes)
    quartiles = in_lanes(found.quartiles, top=0.38, bottom=0.96)
    base = alt.Chart(inline(quartiles)).encode(y=lane_y("top", count), y2="bottom:Q")
    boxes = base.mark_rect(color=TRACK).encode(x=_hours_axis("low", found.longest), x2="high:Q")
    medians = base.mark_rule(color=INK, strokeWidth=2.5).encode(x=_hours_axis("middle", found.longest))
    layers = boxes + _scattered_dots(found) + medians + lane_names(found.lanes, 190)
    return finish(layers, found, (LANE_PIXELS + 34) * count)


def _scattered_dots(found: DecisionWaits) -> Chart:
    dots = [
        {**dot, "level": dot["level"] + 0.5 * (index * GOLDEN % 1)}
        for index, dot in enumerate(in_lanes(found.dots, level=TOP))
    ]
    whats = [ANSWERED, WAITING]
    shape = alt.Scale(domain=whats, range=["circle", "triangle-right"])
    return (
        alt.Chart(inline(dots))
        .mark_point(filled=True, size=42, opacity=0.6)
        .encode(
            x=_hours_axis("hours", found.longest, "waiting time (logarithmic)"),
            y=lane_y("level", len(found.lanes)),
            color=alt.Color("what:N", scale=alt.Scale(domain=whats, range=[BLUE, ORANGE]), legend=legend(2)),
            shape=alt.Shape("what:N", scale=shape, legend=legend(2)),
            tooltip=[
                alt.Tooltip("title:N", title="decision"),
                alt.Tooltip("urgency:N"),
                alt.Tooltip("asked_by:N", title="asked by"),
                alt.Tooltip("long:N", title="waited"),
                alt.Tooltip("outcome:N"),
            ],
        )
    )


def decision_survival(data: Data) -> Chart:
    """Draw the estimated share of decisions still waiting after a given time (Kaplan-Meier).

    Decisions that are open now count until last seen. The curve is dashed, like all estimates.

    Args:
        data: A DataFrame of ``decision_latency``.
    """
    found = describe_decision_survival(rows_of(data))
    return nothing(found) if isinstance(found, Nothing) else finish(_survival_curve(found), found, 260)


def _survival_curve(found: DecisionSurvival) -> Chart:
    base = alt.Chart(inline(found.curve)).encode(
        x=_hours_axis("hours", found.longest, "time since asked (logarithmic)"),
        tooltip=[
            alt.Tooltip("long:N", title="after"),
            alt.Tooltip("share:Q", title="still waiting (%)", format=".0f"),
            alt.Tooltip("low:Q", title="95 % confidence, low (%)", format=".0f"),
            alt.Tooltip("high:Q", title="95 % confidence, high (%)", format=".0f"),
            alt.Tooltip("at_risk:Q", title="decisions observed this long"),
        ],
    )
    y = alt.Y("share:Q", title="still waiting (%)", scale=alt.Scale(domain=[0, 100]))
    spots = alt.Chart(inline(found.spots)).encode(x=_hours_axis("hours", found.longest), y=alt.Y("share:Q"))
    return (
        base.mark_area(color=PALE_BLUE, opacity=0.5, interpolate="step-after").encode(
            y=alt.Y("low:Q", title="still waiting (%)"), y2="high:Q"
        )
        + base.mark_line(color=BLUE, interpolate="step-after", strokeWidth=2, strokeDash=ESTIMATED).encode(y=y)
        + spots.mark_point(filled=True, size=60, color=INK, opacity=1)
        + spots.mark_text(align="left", baseline="bottom", dx=6, dy=-6, color=INK).encode(text="text:N")
    )


def decisions_open(data: Data) -> Chart:
    """Draw the number of decisions waiting at the end of each day.

    Args:
        data: A DataFrame of ``org_daily``.
    """
    found = describe_decisions_open(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    base = alt.Chart(inline(until_tomorrow(found.days))).encode(
        x=days_axis("day"),
        tooltip=[
            alt.Tooltip("label:N", title="day"),
            alt.Tooltip("open:Q", title="open at the end of the day"),
            alt.Tooltip("asked:Q", title="asked that day"),
            alt.Tooltip("settled:Q", title="settled that day"),
            alt.Tooltip("mean:Q", title="28-day average", format=".1f"),
        ],
    )
    names = ["open at the end of the day", "28-day average"]
    scale = alt.Scale(domain=names, range=[ORANGE, INK])
    layers = base.transform_calculate(what=f"'{names[0]}'").mark_area(interpolate="step-after", opacity=0.75).encode(
        y=alt.Y("open:Q", title="open decisions", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("what:N", scale=scale, legend=legend(2)),
    ) + base.transform_calculate(what=f"'{names[1]}'").mark_line(strokeWidth=2).encode(
        y="mean:Q", color=alt.Color("what:N", scale=scale)
    )
    return finish(layers, found, 220)


def waiting_now(data: Data) -> Chart:
    """Draw the decisions waiting for a human now, longest first, with who asked and which task is blocked.

    Args:
        data: A DataFrame of ``decision_latency``.
    """
    found = describe_waiting_now(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    return finish(_waiting_bars(found) + lane_names(found.lanes, 50), found, (LANE_PIXELS + 20) * len(found.lanes))


def _waiting_bars(found: WaitingNow) -> Chart:
    count = len(found.lanes)
    base = alt.Chart(inline(in_lanes(found.bars, top=0.62, bottom=0.84, under=0.56))).encode(
        tooltip=[
            alt.Tooltip("title:N", title="decision"),
            alt.Tooltip("asked_by:N", title="asked by"),
            alt.Tooltip("asked:N"),
            alt.Tooltip("long:N", title="waiting for"),
            alt.Tooltip("urgency:N"),
            alt.Tooltip("initiative:N"),
        ]
    )
    x = alt.X(
        "wait:Q",
        title=f"{found.unit} waiting",
        axis=alt.Axis(grid=False, tickCount=6),
        scale=alt.Scale(domainMin=0, nice=False),
    )
    scale = colours(in_use(URGENCIES, found.bars, "urgency"), URGENCY_COLOURS)
    bars = base.mark_rect().encode(
        x=x,
        x2=alt.datum(0),
        y=lane_y("top", count),
        y2="bottom:Q",
        color=alt.Color("urgency:N", scale=scale, legend=legend()),
    )
    who = base.mark_text(align="left", baseline="bottom", color=FAINT, fontSize=11, limit=alt.expr("width")).encode(
        x=alt.value(0), y=lane_y("under", count), text="who:N"
    )
    return bars + who


def _hours_axis(field: str, longest: float, title: str | None = None) -> alt.X:
    """Return a logarithmic axis of hours with readable ticks."""
    top = max(1.0, 1.1 * longest)
    values = [hours for hours in TICKS if hours <= top]
    names = ", ".join(f"'{TICKS[hours]}'" for hours in values)
    label = f"[{names}][indexof([{', '.join(repr(value) for value in values)}], datum.value)]"
    axis = alt.Axis(values=values, labelExpr=label, grid=True, labelOverlap=True)
    scale = alt.Scale(type="log", domain=[LEAST_HOURS, top], nice=False)
    return alt.X(f"{field}:Q", title=title, scale=scale, axis=axis)
