"""Draws the charts of initiatives; their content is computed in `findings.initiatives`."""

from __future__ import annotations

from orgx_source.charts.findings.caption import Nothing
from orgx_source.charts.findings.initiatives import (
    REASONS,
    BurnDown,
    Stalls,
    describe_burn_up,
    describe_forecast,
    describe_portfolio,
    describe_progress_lines,
    describe_stalls,
)
from orgx_source.charts.findings.rows import Data, in_use, rows_of, until_tomorrow
from orgx_source.charts.quick_altair import alt
from orgx_source.charts.style import (
    BLUE,
    BOTTOM,
    ESTIMATED,
    GREEN,
    GROUND,
    INK,
    LANE_PIXELS,
    ORANGE,
    PALE_BLUE,
    SKY,
    TOP,
    TRACK,
    VERMILION,
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
    rising,
)

STATUS_ORDER = ("active", "blocked", "paused", "planned")


def portfolio(data: Data) -> Chart:
    """Draw every open initiative with its progress, longest unchanged on top.

    Args:
        data: A DataFrame of ``initiatives_current``.
    """
    found = describe_portfolio(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    tooltip = [
        alt.Tooltip("title:N", title="initiative"),
        alt.Tooltip("status:N"),
        alt.Tooltip("tasks:N", title="tasks done"),
        alt.Tooltip("stated:Q", title="stated progress (%)"),
        alt.Tooltip("moved:N", title="time since last change"),
    ]
    count = len(found.lanes)
    base = alt.Chart(inline(in_lanes(found.bars))).encode(y=lane_y("top", count), y2="bottom:Q", tooltip=tooltip)
    x = alt.X(
        "done:Q",
        title="tasks done (% of tasks not dropped)",
        scale=alt.Scale(domain=[0, 100], nice=False),
        axis=alt.Axis(grid=False, values=[0, 25, 50, 75, 100]),
    )
    colour = alt.Color("status:N", scale=colours(in_use(STATUS_ORDER, found.bars, "status")), legend=legend())
    track = base.mark_rect(color=TRACK).encode(x=alt.X("full:Q"), x2=alt.datum(0))
    bar = base.mark_rect().encode(x=x, x2=alt.datum(0), color=colour)
    stated = base.mark_rule(strokeWidth=3, color=INK).encode(x=alt.X("stated:Q"))
    return finish(track + bar + stated + lane_names(found.lanes), found, LANE_PIXELS * count)


def burn_up(data: Data) -> Chart:
    """Draw the number of tasks and of done tasks over time, in initiatives that are not closed now.

    Args:
        data: A DataFrame of ``initiative_progress_daily``.
    """
    found = describe_burn_up(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    tooltip = [
        alt.Tooltip("label:N", title="day"),
        alt.Tooltip("done:Q"),
        alt.Tooltip("total:Q"),
        alt.Tooltip("left:Q", title="still to do"),
    ]
    base = alt.Chart(inline(until_tomorrow(found.days))).encode(x=days_axis("day"), tooltip=tooltip)
    scale = alt.Scale(domain=["to do", "done"], range=[SKY, GREEN])
    band = base.transform_calculate(what="'to do'").mark_area(interpolate="step-after")
    area = base.transform_calculate(what="'done'").mark_area(interpolate="step-after")
    layers = band.encode(
        y=alt.Y("total:Q", title="tasks"), y2="done:Q", color=alt.Color("what:N", scale=scale, legend=legend())
    ) + area.encode(y=alt.Y("done:Q"), color=alt.Color("what:N", scale=scale))
    return finish(layers, found, 260)


def progress_lines(data: Data) -> Chart:
    """Draw the share of tasks done over time, one lane per open initiative.

    Args:
        data: A DataFrame of ``initiative_progress_daily``.
    """
    found = describe_progress_lines(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    count = len(found.lanes)
    points = in_lanes(found.points, level=rising("done", 100), ground=GROUND)
    base = alt.Chart(inline({**point, "done": round(point["done"], 1)} for point in points)).encode(
        x=days_axis("day"),
        y=lane_y("level", count),
        detail="initiative:N",
        color=alt.Color("status:N", scale=colours(in_use(STATUS_ORDER, points, "status")), legend=legend()),
        tooltip=[
            alt.Tooltip("title:N", title="initiative"),
            alt.Tooltip("label:N", title="day"),
            alt.Tooltip("done:Q", title="tasks done (%)"),
        ],
    )
    area = base.mark_area(opacity=0.18, interpolate="step-after").encode(y2="ground:Q")
    line = base.mark_line(interpolate="step-after", strokeWidth=1.8)
    return finish(area + line + lane_names(found.lanes, 130), found, (LANE_PIXELS + 8) * count)


def stalls(data: Data) -> Chart:
    """Draw which initiatives under way (active or blocked) are stalled, and why.

    Args:
        data: A DataFrame of ``initiatives_current``.
    """
    found = describe_stalls(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    return finish(_reason_cells(found) + lane_names(found.lanes, 10), found, LANE_PIXELS * len(found.lanes))


def _reason_cells(found: Stalls) -> Chart:
    count = len(found.lanes)
    cells = in_lanes(found.cells, top=TOP, bottom=BOTTOM, middle=(TOP + BOTTOM) / 2)
    axis = alt.Axis(
        orient="top", labelAngle=0, labelExpr="split(datum.label, ' ')", labelPadding=20, domain=False, ticks=False
    )
    base = alt.Chart(inline(cells)).encode(
        x=alt.X("reason:N", sort=list(REASONS), title=None, axis=axis, scale=alt.Scale(paddingInner=0.06)),
        tooltip=[
            alt.Tooltip("title:N", title="initiative"),
            alt.Tooltip("reason:N"),
            alt.Tooltip("text:N", title="detail"),
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
    return boxes + texts


def forecast(data: Data) -> Chart:
    """Draw the open tasks, and estimate when they will be done if the coming weeks are like the last eight.

    Counted numbers are solid, estimates are dashed. The estimate needs six weeks of history.

    Args:
        data: A DataFrame of ``initiative_progress_daily``.
    """
    found = describe_forecast(rows_of(data))
    return nothing(found) if isinstance(found, Nothing) else finish(_open_tasks(found), found, 260)


def _open_tasks(found: BurnDown) -> Chart:
    names = counted, band, unchanged, growing = (
        "open tasks", "80 % of simulations", "estimate, no new tasks", "estimate, new tasks as before",
    )  # fmt: skip
    scale = alt.Scale(domain=list(names), range=[INK, PALE_BLUE, BLUE, ORANGE])
    colour = alt.Color("what:N", scale=scale, legend=legend(2))
    past = alt.Chart(inline(found.past)).transform_calculate(what=f"'{counted}'")
    future = alt.Chart(inline(found.ahead)).encode(
        x=days_axis("day"),
        tooltip=[
            alt.Tooltip("label:N", title="day"),
            alt.Tooltip("middle:Q", title="estimate, no new tasks", format=".0f"),
            alt.Tooltip("range:N", title="80 % of simulations"),
            alt.Tooltip("growing:Q", title="estimate, new tasks as before", format=".0f"),
        ],
    )
    return (
        future.transform_calculate(what=f"'{band}'")
        .mark_area(opacity=0.5)
        .encode(y=alt.Y("low:Q", title="open tasks"), y2="high:Q", color=colour)
        + _estimate(future, growing).encode(y="growing:Q", color=colour)
        + _estimate(future, unchanged).encode(y="middle:Q", color=colour)
        + past.mark_line(interpolate="step-after", strokeWidth=2).encode(
            x=days_axis("day"),
            y=alt.Y("left:Q"),
            color=colour,
            tooltip=[alt.Tooltip("label:N", title="day"), alt.Tooltip("left:Q", title="open tasks")],
        )
    )


def _estimate(base: Chart, what: str) -> Chart:
    return base.transform_calculate(what=f"'{what}'").mark_line(strokeDash=ESTIMATED, strokeWidth=2)
