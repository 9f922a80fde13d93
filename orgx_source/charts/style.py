"""The common look of all charts: colours that colour-blind readers can distinguish, titles that state a finding, lanes.

A lane is one row of a chart: a name on the left, a note on the right, and marks below them across the full width. A
chart therefore needs no margin for names and fits a narrow screen.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeAlias

from orgx_source.charts.findings.caption import Caption, Lane, Mark, Nothing
from orgx_source.charts.findings.wording import with_units
from orgx_source.charts.quick_altair import alt
from orgx_source.times import as_utc

Chart: TypeAlias = Any

# Okabe and Ito's palette: distinguishable with red-green and blue colour blindness.
BLUE, GREEN, VERMILION, ORANGE = "#0072B2", "#009E73", "#D55E00", "#E69F00"
SKY, GREY, INK = "#56B4E9", "#BBBBBB", "#333333"
FAINT, TRACK = "#707070", "#EDEDED"
PALE_BLUE, PALE_GREY, UNSEEN, HATCH = "#9CC3DE", "#D0D0D0", "#F4F4F4", "#A0A0A0"
GRID, AXIS = "#E4E4E4", "#999999"
# Estimated lines are dashed, counted lines are solid.
ESTIMATED = [5, 4]

STATUS_COLOURS = {
    "active": BLUE,
    "running": BLUE,
    "in_progress": BLUE,
    "completed": GREEN,
    "done": GREEN,
    "approved": GREEN,
    "blocked": VERMILION,
    "declined": VERMILION,
    "paused": ORANGE,
    "pending": ORANGE,
    "planned": SKY,
    "todo": SKY,
    "queued": SKY,
    "closed": GREY,
    "idle": GREY,
    "cancelled": GREY,
    "gone": "#FFFFFF",
    "unknown": TRACK,
}
URGENCY_COLOURS = {"critical": VERMILION, "high": ORANGE, "medium": BLUE, "low": SKY}

LANE_PIXELS = 38
# Positions in a lane of height 1: the name, a bar, and the baseline and height of a curve.
NAME_AT, TOP, BOTTOM = 0.32, 0.42, 0.86
GROUND, RISE = 0.95, 0.55

# Line lengths that fit on a phone.
TITLE_LETTERS, SUBTITLE_LETTERS = 42, 60

_CONFIG: dict[str, Any] = {
    "background": "white",
    # The font bundled with vl-convert comes first, so that a PNG is the same on every machine.
    "font": "Liberation Sans, Helvetica, Arial, sans-serif",
    # Width without a container, as in a notebook.
    "view": {"continuousWidth": 640, "discreteWidth": 640, "stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "gridColor": GRID,
        "domainColor": AXIS,
        "tickColor": AXIS,
    },
    "legend": {
        "labelColor": INK,
        "labelFontSize": 11,
        # Vega cuts labels after 160 pixels.
        "labelLimit": 0,
        "symbolSize": 110,
        "rowPadding": 2,
        "columnPadding": 12,
    },
    "title": {
        "anchor": "start",
        "frame": "bounds",
        "fontSize": 15,
        "color": INK,
        "subtitleColor": FAINT,
        "subtitleFontSize": 11,
        "subtitleLineHeight": 14,
        "lineHeight": 18,
        "offset": 12,
    },
}


def finish(chart: Chart, caption: Caption, height: float) -> Chart:
    """Return the chart with its title, size and the common look.

    Args:
        chart: A single view or layers.
        caption: Its title and subtitle.
        height: Height of the view in pixels; its width is that of the container.
    """
    return chart.properties(
        width="container",
        height=height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        description=f"{caption.finding}. {caption.how}",
        title=alt.TitleParams(
            text=_lines(caption.finding, TITLE_LETTERS), subtitle=_lines(caption.how, SUBTITLE_LETTERS)
        ),
    ).configure(**_CONFIG)


def _lines(text: str, letters: int) -> list[str]:
    # The report joins the lines again, so a name such as claude-small must not be split at its hyphen.
    return textwrap.wrap(with_units(text), letters, break_on_hyphens=False)


def nothing(found: Nothing) -> Chart:
    """Return an empty chart whose title says why there is nothing to draw."""
    chart = alt.Chart(inline([{"text": "no data"}])).mark_text(color=FAINT, size=12).encode(text="text:N")
    return finish(chart, Caption(finding=found.why, how="orgx-sync run adds data."), 60)


def inline(rows: Iterable[Mapping[str, Any]]) -> alt.InlineData:
    """Return rows as data embedded in the chart; times and dates become ISO text."""
    return alt.InlineData(values=[{name: _plain(value) for name, value in row.items()} for row in rows])


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return as_utc(value).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def colours(names: Sequence[str], palette: Mapping[str, str] = STATUS_COLOURS) -> alt.Scale:
    """Return a scale that maps each name to its colour."""
    return alt.Scale(domain=list(names), range=[palette.get(name, GREY) for name in names])


def legend(columns: int = 4, **other: Any) -> alt.Legend:
    """Return a legend above the chart."""
    look = {"direction": "horizontal", "offset": 8, "symbolOpacity": 1, "symbolStrokeWidth": 3, **other}
    return alt.Legend(orient="top", title=None, columns=columns, **look)


def days_axis(field: str, title: str | None = None) -> alt.X:
    """Return a horizontal axis of days, in UTC regardless of the reader's time zone."""
    axis = alt.Axis(format="%-d %b", grid=False, tickCount=6, labelOverlap=True)
    return alt.X(f"{field}:T", title=title, scale=alt.Scale(type="utc"), axis=axis)


def lane_scale(count: int) -> alt.Scale:
    """Return the vertical scale for a number of lanes, the first one on top."""
    return alt.Scale(domain=[0, count], reverse=True, nice=False, zero=False)


def lane_y(field: str, count: int) -> alt.Y:
    """Return the vertical encoding of a field measured in lanes."""
    return alt.Y(f"{field}:Q", scale=lane_scale(count), axis=None)


def in_lanes(marks: Iterable[Mark], **places: float | Callable[[Mark], float]) -> list[Mark]:
    """Return marks with vertical positions instead of their lane number.

    Args:
        marks: The marks.
        places: Names of the new fields, each with its position in a lane of height 1: a number, or a function of the
            mark that returns the position including the lane number. By default, the top and bottom of a bar.
    """
    chosen = places or {"top": TOP, "bottom": BOTTOM}
    return [_placed(mark, chosen) for mark in marks]


def _placed(mark: Mark, places: Mapping[str, float | Callable[[Mark], float]]) -> Mark:
    found: Mark = {}
    for name, value in mark.items():
        if name == "lane":
            found |= {place: at(mark) if callable(at) else value + at for place, at in places.items()}
        else:
            found[name] = value
    return found


def rising(field: str, most: float) -> Callable[[Mark], float]:
    """Return a function for the position of a curve in its lane, from the baseline (0) to full height (``most``)."""
    return lambda mark: mark["lane"] + GROUND - RISE * mark[field] / most


def lane_names(lanes: Sequence[Lane], room_for_note: int = 110) -> Chart:
    """Return the name on the left and the note on the right of each lane.

    Args:
        lanes: Name and note of each lane.
        room_for_note: Pixels reserved for the note; longer names are cut off.
    """
    rows = [{"lane": index + NAME_AT, "name": name, "note": note} for index, (name, note) in enumerate(lanes)]
    base = alt.Chart(inline(rows)).encode(y=lane_y("lane", len(lanes)))
    names = base.mark_text(
        align="left", baseline="bottom", color=INK, fontSize=11.5, limit=alt.expr(f"width - {room_for_note}")
    ).encode(x=alt.value(0), text="name:N")
    notes = base.mark_text(align="right", baseline="bottom", color=FAINT, fontSize=11).encode(
        x=alt.value("width"), text="note:N"
    )
    return names + notes
