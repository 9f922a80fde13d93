"""Draws the charts of agents; their content is computed in `findings.agents`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from orgx_source.charts.findings.agents import (
    BEFORE,
    RECENT,
    Measure,
    Throughput,
    Timeline,
    describe_blockages,
    describe_cost_per_artifact,
    describe_throughput,
    describe_timeline,
)
from orgx_source.charts.findings.caption import Mark, Nothing
from orgx_source.charts.findings.rows import Data, in_use, rows_of
from orgx_source.charts.quick_altair import alt
from orgx_source.charts.style import (
    BLUE,
    GROUND,
    HATCH,
    LANE_PIXELS,
    ORANGE,
    PALE_BLUE,
    PALE_GREY,
    STATUS_COLOURS,
    UNSEEN,
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

SEEN_AS = ("running", "queued", "blocked", "idle", "unknown")
TIMELINE_COLOURS: Mapping[str, str] = {**STATUS_COLOURS, "idle": PALE_GREY, "unknown": UNSEEN}
MOST_HATCHES = 160


def throughput(data: Data, measure: Measure = "tasks_done") -> Chart:
    """Draw the output of each agent per week, compared with the weeks before.

    Args:
        data: A DataFrame of ``agent_throughput_daily``.
        measure: The column to count.
    """
    found = describe_throughput(rows_of(data), measure)
    if isinstance(found, Nothing):
        return nothing(found)
    layers = _week_bars(found) + _mean_lines(found) + lane_names(found.lanes, 150)
    return finish(layers, found, (LANE_PIXELS + 8) * len(found.lanes))


def _week_bars(found: Throughput) -> Chart:
    bars = in_lanes(found.bars, top=rising("count", found.most), bottom=GROUND)
    scale = alt.Scale(domain=[BEFORE, RECENT], range=[PALE_BLUE, BLUE])
    return (
        alt.Chart(inline(bars))
        .mark_rect()
        .encode(
            x=days_axis("from"),
            x2="to:T",
            y=lane_y("top", len(found.lanes)),
            y2="bottom:Q",
            color=alt.Color("part:N", scale=scale, legend=None),
            tooltip=[alt.Tooltip("agent:N"), alt.Tooltip("week:N"), alt.Tooltip("count:Q", title=found.noun)],
        )
    )


def _mean_lines(found: Throughput) -> Chart:
    means = in_lanes(found.means, level=rising("mean", found.most))
    return (
        alt.Chart(inline(means))
        .mark_rule(color=VERMILION, strokeWidth=2)
        .encode(
            x=days_axis("from"),
            x2="to:T",
            y=lane_y("level", len(found.lanes)),
            tooltip=[alt.Tooltip("mean:Q", title=f"{found.noun} a week", format=".1f")],
        )
    )


def timeline(data: Data) -> Chart:
    """Draw the status of each agent in the last thirty days; time not covered by a read is hatched.

    Args:
        data: A DataFrame of ``agent_timeline``.
    """
    found = describe_timeline(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    return finish(_status_bars(found) + lane_names(found.lanes, 90), found, LANE_PIXELS * len(found.lanes))


def _status_bars(found: Timeline) -> Chart:
    bars, y = in_lanes(found.bars), lane_y("top", len(found.lanes))
    scale = colours(in_use(SEEN_AS, bars, "status"), TIMELINE_COLOURS)
    lanes = (
        alt.Chart(inline(bars))
        .mark_rect(stroke="white", strokeWidth=1)
        .encode(
            x=days_axis("from"),
            x2="to:T",
            y=y,
            y2="bottom:Q",
            color=alt.Color("status:N", scale=scale, legend=legend(5, symbolStrokeColor=HATCH, symbolStrokeWidth=1)),
            tooltip=[
                alt.Tooltip("agent:N"),
                alt.Tooltip("status:N"),
                alt.Tooltip("task:N", title="working on"),
                alt.Tooltip("seen:N", title="observed"),
            ],
        )
    )
    hatch = (
        alt.Chart(inline(_hatches(bars, found.start, found.end)))
        .mark_rule(color=HATCH, strokeWidth=1)
        .encode(x=days_axis("at"), y=y, y2="bottom:Q")
    )
    return lanes + hatch


def _hatches(bars: Iterable[Mark], start: datetime, end: datetime) -> list[Mark]:
    """Return vertical lines at equal distances where the status of an agent is unknown."""
    step = (end - start) / MOST_HATCHES
    found = []
    for bar in bars:
        moment = bar["from"] + step / 2
        while bar["status"] == "unknown" and moment < bar["to"]:
            found.append({"at": moment, "top": bar["top"], "bottom": bar["bottom"]})
            moment += step
    return found


def blockages(data: Data) -> Chart:
    """Draw how long each agent was seen blocked, and on which tasks.

    Args:
        data: A DataFrame of ``agent_timeline``.
    """
    found = describe_blockages(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    count = len(found.lanes)
    bars = (
        alt.Chart(inline(in_lanes(found.bars)))
        .mark_rect(color=VERMILION, stroke="white", strokeWidth=2)
        .encode(
            x=alt.X(
                "from:Q",
                title="days blocked",
                axis=alt.Axis(grid=False, tickCount=6),
                scale=alt.Scale(zero=True, nice=False),
            ),
            x2="to:Q",
            y=lane_y("top", count),
            y2="bottom:Q",
            tooltip=[alt.Tooltip("agent:N"), alt.Tooltip("task:N"), alt.Tooltip("long:N", title="blocked for")],
        )
    )
    return finish(bars + lane_names(found.lanes, 90), found, LANE_PIXELS * count)


def cost_per_artifact(data: Data) -> Chart:
    """Draw the cost of an approved artifact per agent: its total cost divided by its number of approvals.

    Args:
        data: A DataFrame of ``agent_throughput_daily``.
    """
    found = describe_cost_per_artifact(rows_of(data))
    if isinstance(found, Nothing):
        return nothing(found)
    count = len(found.lanes)
    axis = alt.Axis(grid=False, format="$.2f", tickCount=5)
    bars = (
        alt.Chart(inline(in_lanes(found.bars)))
        .mark_rect(color=BLUE)
        .encode(
            x=alt.X("price:Q", title="US dollars per approved artifact", axis=axis),
            x2=alt.datum(0),
            y=lane_y("top", count),
            y2="bottom:Q",
            tooltip=[
                alt.Tooltip("agent:N"),
                alt.Tooltip("price:Q", title="per approved artifact", format="$.2f"),
                alt.Tooltip("approved:Q", title="approved artifacts"),
                alt.Tooltip("cost:Q", title="total cost", format="$.2f"),
            ],
        )
    )
    mean = (
        alt.Chart(inline([{"every": found.every}]))
        .mark_rule(color=ORANGE, strokeWidth=2)
        .encode(x="every:Q", tooltip=[alt.Tooltip("every:Q", title="all agents", format="$.2f")])
    )
    return finish(bars + mean + lane_names(found.lanes, 120), found, LANE_PIXELS * count)
