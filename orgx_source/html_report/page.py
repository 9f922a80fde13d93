"""Writes a report as one HTML file from a template, with inline charts and the scripts that draw them.

The template escapes all text. The page allows only its own scripts, by their hashes, and no network requests, so the
browser never executes the content of a title. Colours are CSS variables, so the charts follow the reader's light or
dark mode.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from orgx_source.charts.findings.wording import with_units
from orgx_source.charts.style import AXIS, BLUE, FAINT, GREY, GRID, HATCH, INK, PALE_BLUE, PALE_GREY, TRACK, UNSEEN
from orgx_source.html_report.content import NOTHING, Picture, Report, Section, Table

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
NARROW_PIXELS = 400
# Height of the heading, axes and caption around a chart.
FRAME_PIXELS = 150
LEGEND_SYMBOL_PIXELS, LEGEND_LETTER_PIXELS = 32, 6.2
# Colours of the charts, and the variables of page.css that replace them.
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


@dataclass(frozen=True, slots=True)
class _Layout:
    """A section in the form that the template needs: charts, each with whether it has its own row, then tables."""

    name: str
    title: str
    pictures: Sequence[tuple[Picture, bool]]
    tables: Sequence[Table]


def render(report: Report) -> str:
    """Return the page as HTML."""
    sections = [_lay_out(section) for section in report.sections]
    pictures = [picture for section in sections for picture, _ in section.pictures]
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            sections=sections,
            nothing=NOTHING,
            charts=embedded_json(
                {picture.name: themed(picture.spec) for picture in pictures if picture.spec is not None}
            ),
            style=_file("page.css"),
            library=_library(),
            script=_file("page.js"),
        )
    )


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("orgx_source", "html_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["csp_hash"] = _csp_hash
    environment.filters["units"] = with_units
    environment.filters["parts"] = _parts
    return environment


def _parts(text: str) -> list[str]:
    """Return the parts between which a name such as ``sales.icp_offer_sequence`` may be broken."""
    return re.split(r"(?<=[A-Za-z0-9][._])(?=[A-Za-z0-9])", text)


def themed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chart in the colours and font of the page, with legends and labels that adapt to its width."""
    # The page labels and describes each chart; a screen reader must not read out a thousand marks one by one.
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
            # White text is inside a cell and must fit into it.
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
    """Return the number of columns of a legend, as an expression: as many as fit into the width of the chart."""
    expression = "1"
    for count in range(2, min(len(names), legend.get("columns") or len(names)) + 1):
        widest = [max(len(name) for name in names[column::count]) for column in range(count)]
        needed = sum(LEGEND_SYMBOL_PIXELS + LEGEND_LETTER_PIXELS * letters for letters in widest)
        expression = f"width > {needed:.0f} ? {count} : {expression}"
    return {"expr": expression}


def embedded_json(value: Any) -> str:
    """Return JSON that is safe between script tags: it contains no ``<`` that could start a tag or a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@lru_cache
def _library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    return inline_script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def inline_script(text: str) -> str:
    """Return a script that cannot end its own element; a slash may be escaped inside a JavaScript string."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _csp_hash(script: str) -> str:
    """Return the hash of a script in the form of a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


@lru_cache
def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _lay_out(section: Section) -> _Layout:
    pictures = [part for part in section.parts if isinstance(part, Picture)]
    tables = [part for part in section.parts if isinstance(part, Table)]
    # A chart with nothing to draw is only a sentence and does not share a row with a drawn one.
    drawn, empty = ([picture for picture in pictures if bool(picture.spec) is has] for has in (True, False))
    return _Layout(section.name, section.title, [*_pairs(drawn), *_pairs(empty)], tables)


def _pairs(pictures: Sequence[Picture]) -> list[tuple[Picture, bool]]:
    """Return charts and whether each is wide: two of similar height share a row, any other has its own."""
    found: list[tuple[Picture, bool]] = []
    waiting = list(pictures)
    while waiting:
        count = 2 if len(waiting) > 1 and _about_as_high(waiting[0], waiting[1]) else 1
        found += [(picture, count == 1) for picture in waiting[:count]]
        del waiting[:count]
    return found


def _about_as_high(one: Picture, other: Picture) -> bool:
    low, high = sorted(FRAME_PIXELS + (picture.spec or {}).get("height", 0) for picture in (one, other))
    return bool(high <= 1.5 * low)
