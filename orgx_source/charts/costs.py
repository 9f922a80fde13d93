"""Draws the charts of costs; their content is computed in `findings.costs`. Estimates are pale with dashed outlines."""

from __future__ import annotations

from collections.abc import Iterable

from orgx_source.charts.findings.caption import Caption, Lane, Mark, Nothing
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
from orgx_source.charts.findings.rows import Data, in_use, rows_of
from orgx_source.charts.quick_altair import alt
from orgx_source.charts.style import (
    BLUE,
    ESTIMATED,
    GROUND,
    HATCH,
    LANE_PIXELS,
    PALE_BLUE,
    UNSEEN,
    Chart,
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

COLOURS = {ESTIMATE: PALE_BLUE, COUNTED: BLUE}
# Percentage points between two hatch lines where the cost is unknown.
HATCH_STEP = 1.25


def cost_per_week(data: Data) -> Chart:
    """Draw the estimated cost of runs per week and provider, compared with the weeks before.

    Args:
        data: A DataFrame of ``cost_daily``.
    """
    found = describe_weekly_cost(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    bars = in_lanes(found.bars, top=rising("usd", found.most), bottom=GROUND)
    weeks = _amounts(bars, ESTIMATE).encode(
        x=days_axis("from"),
        x2="to:T",
        y=lane_y("top", len(found.lanes)),
        y2="bottom:Q",
        tooltip=[
            alt.Tooltip("provider:N"),
            alt.Tooltip("week:N"),
            alt.Tooltip("usd:Q", title="estimated cost", format="$,.2f"),
        ],
    )
    return finish(weeks + lane_names(found.lanes, 190), found, (LANE_PIXELS + 8) * len(found.lanes))


def _amounts(bars: Iterable[Mark], kind: str) -> Chart:
    """Return bars of amounts: solid if counted, pale with dashed outlines if estimated."""
    scale = alt.Scale(domain=[kind], range=[COLOURS[kind]])
    dash = ESTIMATED if kind == ESTIMATE else [1, 0]
    look = legend(symbolStrokeWidth=1, symbolStrokeColor=BLUE, symbolDash=dash)
    return (
        alt.Chart(inline(bars))
        .mark_rect(stroke=BLUE, strokeWidth=1, strokeDash=dash)
        .encode(color=alt.Color("kind:N", scale=scale, legend=look))
    )


def counted_cost(data: Data) -> Chart:
    """Draw the cost that OrgX counts in the plan period, by model or provider.

    Args:
        data: A DataFrame of ``stg_orgx__usage``.
    """
    found = describe_counted_cost(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    amounts = _amounts(in_lanes(found.bars), COUNTED)
    return _priced(amounts, found, found.lanes, "name", "US dollars in this period", "cost counted by OrgX")


def cost_per_outcome(data: Data) -> Chart:
    """Draw the estimated cost of a run, by outcome.

    Args:
        data: A DataFrame of ``cost_per_outcome``.
    """
    found = describe_cost_per_outcome(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    amounts = _amounts(in_lanes(found.bars), ESTIMATE)
    return _priced(amounts, found, found.lanes, "outcome", "US dollars per run", "estimated cost of a run")


def _priced(amounts: Chart, found: Caption, lanes: list[Lane], of: str, title: str, what: str) -> Chart:
    """Return a chart with one amount per lane."""
    bars = amounts.encode(
        x=alt.X("usd:Q", title=title, axis=alt.Axis(grid=False, format="$,.2f", tickCount=5)),
        x2=alt.datum(0),
        y=lane_y("top", len(lanes)),
        y2="bottom:Q",
        tooltip=[alt.Tooltip(f"{of}:N"), alt.Tooltip("usd:Q", title=what, format="$,.4f")],
    )
    return finish(bars + lane_names(lanes, 160), found, LANE_PIXELS * len(lanes))


def runs_without_cost(data: Data) -> Chart:
    """Draw the share of runs with a known cost, by outcome; the share without one is hatched.

    Args:
        data: A DataFrame of ``cost_per_outcome``.
    """
    found = describe_runs_without_cost(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    bars, y = in_lanes(found.bars), lane_y("top", len(found.lanes))
    kinds = in_use((KNOWN, UNKNOWN), bars, "kind")
    scale = alt.Scale(domain=kinds, range=[{KNOWN: BLUE, UNKNOWN: UNSEEN}[kind] for kind in kinds])
    axis = alt.X("from:Q", title="runs (%)", axis=alt.Axis(grid=False, tickCount=5), scale=alt.Scale(domain=[0, 100]))
    shares = (
        alt.Chart(inline(bars))
        .mark_rect(stroke="white", strokeWidth=1)
        .encode(
            x=axis,
            x2="to:Q",
            y=y,
            y2="bottom:Q",
            color=alt.Color("kind:N", scale=scale, legend=legend(2, symbolStrokeColor=HATCH, symbolStrokeWidth=1)),
            tooltip=[alt.Tooltip("outcome:N"), alt.Tooltip("kind:N"), alt.Tooltip("runs:Q")],
        )
    )
    hatch = (
        alt.Chart(inline(_hatches(bars)))
        .mark_rule(color=HATCH, strokeWidth=1)
        .encode(x=alt.X("at:Q"), y=y, y2="bottom:Q")
    )
    return finish(shares + hatch + lane_names(found.lanes, 150), found, LANE_PIXELS * len(found.lanes))


def _hatches(bars: Iterable[Mark]) -> list[Mark]:
    """Return vertical lines at equal distances where no cost is known."""
    return [
        {"at": place * HATCH_STEP, "top": bar["top"], "bottom": bar["bottom"]}
        for bar in bars
        if bar["kind"] == UNKNOWN
        for place in range(int(100 / HATCH_STEP))
        if bar["from"] < place * HATCH_STEP < bar["to"]
    ]
