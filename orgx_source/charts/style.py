"""How every picture looks: colours that a colour-blind reader tells apart, a title that states a finding, lanes.

A lane is one row of a picture: a name at its left and a note at its right, and what is drawn below them over the whole
width. So a picture needs no margin for names, and fits a narrow screen.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, TypeAlias

import altair as alt

Chart: TypeAlias = Any

# Okabe and Ito's palette: told apart also with a red-green or blue weakness.
BLUE, GREEN, VERMILION, ORANGE = "#0072B2", "#009E73", "#D55E00", "#E69F00"
SKY, GREY, INK = "#56B4E9", "#BBBBBB", "#333333"
FAINT, TRACK = "#707070", "#EDEDED"

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
MOST_LANES = 25
# Where things stand in a lane of height 1.
NAME_AT, TOP, BOTTOM = 0.32, 0.42, 0.86

# A number stays with its unit.
_UNIT = re.compile(r"(?<=\d) (?=%|(?:h|d|min)\b)")
# What fits on a telephone.
TITLE_LETTERS, SUBTITLE_LETTERS = 42, 60

_CONFIG: dict[str, Any] = {
    "background": "white",
    "font": "Helvetica, Arial, sans-serif",
    # The width where there is no container, as in a notebook.
    "view": {"continuousWidth": 640, "discreteWidth": 640, "stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "gridColor": "#E4E4E4",
        "domainColor": "#999999",
        "tickColor": "#999999",
    },
    "legend": {"labelColor": INK, "labelFontSize": 11, "symbolSize": 110, "rowPadding": 2, "columnPadding": 12},
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


def finish(chart: Chart, finding: str, how: str, height: float) -> Chart:
    """Return the chart with its title, its size, and the common look.

    Args:
        chart: A single view or layers.
        finding: What the data say, as a sentence.
        how: How it was counted, or what it assumes.
        height: Height of the view in pixels; its width is the container's.
    """
    return chart.properties(
        width="container",
        height=height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        description=f"{finding}. {how}",
        title=alt.TitleParams(text=_lines(finding, TITLE_LETTERS), subtitle=_lines(how, SUBTITLE_LETTERS)),
    ).configure(**_CONFIG)


def _lines(text: str, letters: int) -> list[str]:
    return textwrap.wrap(_UNIT.sub("\u00a0", text), letters)


def nothing(message: str) -> Chart:
    """Return a picture that says that there is nothing to draw."""
    chart = alt.Chart(inline([{"text": "nothing to draw"}])).mark_text(color=FAINT, size=12).encode(text="text:N")
    return finish(chart, message, "It fills as orgx-sync run brings rows.", 60)


def inline(rows: Iterable[Mapping[str, Any]]) -> alt.InlineData:
    """Return rows as data within the chart; times and dates become texts."""
    return alt.InlineData(values=[{name: _plain(value) for name, value in row.items()} for row in rows])


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def colours(names: Sequence[str], palette: Mapping[str, str] = STATUS_COLOURS) -> alt.Scale:
    """Return a scale that gives each name its colour."""
    return alt.Scale(domain=list(names), range=[palette.get(name, GREY) for name in names])


def legend(columns: int = 4, **other: Any) -> alt.Legend:
    """Return a legend above the picture."""
    look = {"direction": "horizontal", "offset": 8, "symbolOpacity": 1, "symbolStrokeWidth": 3, **other}
    return alt.Legend(orient="top", title=None, columns=columns, **look)


def days_axis(field: str, title: str | None = None) -> alt.X:
    """Return a horizontal axis of days, in UTC whatever the reader's clock says."""
    axis = alt.Axis(format="%-d %b", grid=False, tickCount=6, labelOverlap=True)
    return alt.X(f"{field}:T", title=title, scale=alt.Scale(type="utc"), axis=axis)


def lane_scale(count: int) -> alt.Scale:
    """Return the vertical scale of so many lanes, the first one on top."""
    return alt.Scale(domain=[0, count], reverse=True, nice=False, zero=False)


def lane_y(field: str, count: int) -> alt.Y:
    """Return the vertical encoding of a field that is counted in lanes."""
    return alt.Y(f"{field}:Q", scale=lane_scale(count), axis=None)


def lane_names(lanes: Sequence[tuple[str, str]], room_for_note: int = 110) -> Chart:
    """Return the names at the left and the notes at the right of each lane.

    Args:
        lanes: Name and note of each.
        room_for_note: Pixels that a note may need; names are cut before it.
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
