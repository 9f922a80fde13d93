"""Writes a report as one HTML file: escapes every text, puts the charts and the scripts that draw them inline.

The page may run its own scripts and no others, by their hashes, and may ask nothing of any network: whatever a title
holds, the browser does not run it. Colours are CSS variables, so the charts follow the reader's light or dark setting.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import vl_convert

from orgx_source.charts.style import AXIS, BLUE, FAINT, GREY, GRID, HATCH, INK, PALE_BLUE, PALE_GREY, TRACK, UNSEEN
from orgx_source.html_report.content import NOTHING, Cell, Figure, Picture, Report, Section, Table

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
NARROW_PIXELS = 400
# Heading, axes and the sentence below, around a picture.
FRAME_PIXELS = 150
LEGEND_SYMBOL_PIXELS, LEGEND_LETTER_PIXELS = 32, 6.2
# What the charts paint with, and the variable of page.css that takes its place.
THEMED = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    TRACK: "var(--track)",
    GREY: "var(--grey)",
    BLUE: "var(--blue)",
    PALE_BLUE: "var(--blue-pale)",
    GRID: "var(--rule)",
    AXIS: "var(--axis)",
    HATCH: "var(--axis)",
    PALE_GREY: "var(--grey)",
    UNSEEN: "var(--unseen)",
}


def render(report: Report) -> str:
    """Return the page."""
    pictures = [part for section in report.sections for part in section.parts if isinstance(part, Picture)]
    specs = {picture.name: themed(picture.spec) for picture in pictures if picture.spec is not None}
    library, script = _library(), _file("page.js")
    as_of = report.as_of
    return Template(_file("page.html")).substitute(
        policy=(
            f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; style-src 'unsafe-inline'; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
        title=escape(report.organisation),
        style=_file("page.css"),
        as_of=(
            f'As of <time datetime="{as_of.isoformat()}">{as_of.day} {as_of:%B %Y, %H:%M} UTC</time>'
            '<span id="age"></span>'
            if as_of
            else "Nothing was read yet: <code>orgx-sync run</code> fills the warehouse."
        ),
        links="\n".join(f'<a href="#{section.name}">{escape(section.title)}</a>' for section in report.sections),
        figures="\n".join(_figure(figure) for figure in report.figures),
        sections="\n".join(_section(section) for section in report.sections),
        notes="\n".join(f"<p>{escape(note)}</p>" for note in report.notes),
        charts=embedded_json(specs),
        library=library,
        script=script,
    )


def themed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chart that follows the page: its colours, its type, and as wide as there is room."""
    # The page names and describes the whole picture; a thousand marks that are read out one by one help nobody.
    config = {**spec.get("config", {}), "background": None, "font": FONT, "aria": False}
    found: dict[str, Any] = _repainted({**spec, "config": config})
    return found


def _repainted(spec: Any, key: str = "") -> Any:
    if isinstance(spec, Mapping):
        painted = {name: value if name == "datasets" else _repainted(value, name) for name, value in spec.items()}
        if key == "axis" and painted.get("orient") == "top":
            painted["labelFontSize"] = {"expr": f"width < {NARROW_PIXELS} ? 9 : 11"}
        if key == "axis" and "%b" in str(painted.get("format")):
            painted["labelExpr"] = "utchours(datum.value) ? utcFormat(datum.value, '%H:%M') : datum.label"
        if key == "mark" and painted.get("type") == "text" and painted.get("color") == "white":
            # Such a text stands in a cell, and must not leave it.
            painted["fontSize"] = {"expr": f"width < {NARROW_PIXELS} ? 9 : 11"}
        if isinstance(painted.get("legend"), Mapping) and "domain" in painted.get("scale", {}):
            painted["legend"] = {
                **painted["legend"],
                "columns": _columns(painted["legend"], painted["scale"]["domain"]),
            }
        return painted
    if isinstance(spec, list):
        return [_repainted(value, key) for value in spec]
    if key == "stroke" and spec == "white":
        return "var(--paper)"
    return THEMED.get(spec, spec) if isinstance(spec, str) else spec


def _columns(legend: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Return how many columns a legend gets, as an expression: as many as the width of the picture has room for."""
    expression = "1"
    for count in range(2, min(len(names), legend.get("columns") or len(names)) + 1):
        widest = [max(len(name) for name in names[column::count]) for column in range(count)]
        needed = sum(LEGEND_SYMBOL_PIXELS + LEGEND_LETTER_PIXELS * letters for letters in widest)
        expression = f"width > {needed:.0f} ? {count} : {expression}"
    return {"expr": expression}


def embedded_json(value: Any) -> str:
    """Return JSON that stands safely between script tags: no ``<`` in it can begin a tag or a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@lru_cache
def _library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    return inline_script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def inline_script(text: str) -> str:
    """Return a script in which nothing ends its element; inside a JavaScript string the slash may be escaped."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@lru_cache
def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _section(section: Section) -> str:
    pictures = [part for part in section.parts if isinstance(part, Picture)]
    tables = [part for part in section.parts if isinstance(part, Table)]
    # A sentence alone is no neighbour for a picture.
    parts = _pairs([picture for picture in pictures if picture.spec])
    parts += _pairs([picture for picture in pictures if not picture.spec])
    parts += [_table(table, f"{section.name}-{number}") for number, table in enumerate(tables)]
    inner = "\n".join(parts)
    return (
        f'<section id="{section.name}" aria-labelledby="{section.name}-title">\n'
        f'<h2 id="{section.name}-title">{escape(section.title)}</h2>\n<div class="parts">\n{inner}\n</div>\n</section>'
    )


def _pairs(pictures: Sequence[Picture]) -> list[str]:
    """Return pictures of which two share a row where they are about as high; any other has it for itself."""
    found: list[str] = []
    waiting = list(pictures)
    while waiting:
        count = 2 if len(waiting) > 1 and _about_as_high(waiting[0], waiting[1]) else 1
        found += [_picture(picture, wide=count == 1) for picture in waiting[:count]]
        del waiting[:count]
    return found


def _about_as_high(one: Picture, other: Picture) -> bool:
    low, high = sorted(FRAME_PIXELS + (picture.spec or {}).get("height", 0) for picture in (one, other))
    return bool(high <= 1.5 * low)


def _figure(figure: Figure) -> str:
    tone = f' class="{figure.tone}"' if figure.tone else ""
    return (
        f"<div><dt>{escape(figure.label)}</dt><dd{tone}>{escape(figure.value)}</dd>"
        f'<dd class="note">{escape(figure.note)}</dd></div>'
    )


def _picture(picture: Picture, *, wide: bool) -> str:
    name = picture.name
    chart = (
        f'<div class="chart" id="chart-{name}" role="img" aria-labelledby="{name}-finding" '
        f'aria-describedby="{name}-how"></div>'
        if picture.spec
        else ""
    )
    return (
        f'<figure{" class=wide" if wide else ""}>\n<h3 id="{name}-finding">{escape(picture.finding)}</h3>\n{chart}\n'
        f'<figcaption id="{name}-how">{escape(picture.how)}</figcaption>\n</figure>'
    )


def _table(table: Table, name: str) -> str:
    head = "".join(f'<th scope="col"{_class(right=right)}>{escape(column)}</th>' for column, right in table.columns)
    body = "\n".join(f"<tr>{_cells(table.columns, row)}</tr>" for row in table.rows)
    grid = (
        f'<table aria-labelledby="{name}-title">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'
    )
    return (
        f'<div class="table">\n<h3 id="{name}-title">{escape(table.title)}</h3>\n{grid if table.rows else ""}\n'
        f'<p class="how">{escape(table.how)}</p>\n</div>'
    )


def _cells(columns: Sequence[tuple[str, bool]], row: Sequence[Cell]) -> str:
    cells = []
    for number, ((column, right), cell) in enumerate(zip(columns, row, strict=True)):
        tag, scope = ("th", ' scope="row"') if number == 0 else ("td", "")
        names = _class(cell.tone, "none" if cell.text == NOTHING else "", right=right)
        cells.append(f'<{tag}{scope}{names} data-label="{escape(column)}">{escape(cell.text)}</{tag}>')
    return "".join(cells)


def _class(*tones: str, right: bool) -> str:
    names = " ".join(name for name in (*tones, "number" if right else "") if name)
    return f' class="{names}"' if names else ""
