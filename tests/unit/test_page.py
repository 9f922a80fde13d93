"""The page of the report: what a title holds stays text, and only the page's own scripts may run."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from jinja2 import UndefinedError

from orgx_source.html_report import content, page
from orgx_source.html_report.content import Cell, Figure, Picture, Report, Section, Table

HOSTILE = """</title><script>x()</script>'"> & {{ report }} {% raw %} {# note #}"""
NOW = datetime(2026, 4, 13, 6, tzinfo=UTC)


def chart(height: int) -> dict[str, Any]:
    return {"height": height, "layer": []}


def report(*parts: Picture | Table, text: str = "Northwind", as_of: datetime | None = NOW) -> Report:
    return Report(text, as_of, [Figure(text, text, text, "good")], [Section("agents", text, parts)], [text])


def table(*cells: Cell, text: str = "Tasks") -> Table:
    return Table(text, text, [("name", False), ("count", True)], [cells] if cells else [])


def test_no_text_becomes_markup_or_template() -> None:
    parts = (Picture("stalls", HOSTILE, HOSTILE, None), table(Cell(HOSTILE), Cell("1"), text=HOSTILE))
    written = page.render(report(*parts, text=HOSTILE))
    assert HOSTILE not in written
    # The title of the page, its heading, a link, a figure's three, a section's, a picture's and a table's two, a cell
    # and a note.
    assert html.unescape(written).count(HOSTILE) == 13
    assert written.count("<script") == 3


def test_a_number_stays_with_its_unit() -> None:
    parts = (Picture("stalls", "done: 4 %", "after 3 h", None), table(text="9.2 d"))
    written = page.render(report(*parts, text="5 min"))
    assert re.findall("[0-9.]+\u00a0(?:%|h|d|min)", written) == [
        "5\u00a0min",
        "4\u00a0%",
        "3\u00a0h",
        *["9.2\u00a0d"] * 2,
    ]


def test_a_long_name_is_broken_between_its_parts_only() -> None:
    written = page.render(report(table(Cell("sales.icp_offer <i>. _")), text=""))
    assert "sales.<wbr>icp_<wbr>offer &lt;i&gt;. _" in written


def test_the_policy_names_the_hash_of_each_script_that_may_run() -> None:
    written = page.render(report(Picture("stalls", "", "", chart(100))))
    scripts = re.findall(r"<script>(.*?)</script>", written, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(hashes) == 2
    allowed = " ".join(f"'sha256-{found}'" for found in hashes)
    assert f"content=\"default-src 'none'; script-src {allowed}; style-src" in written


def test_pictures_share_a_row_when_they_are_about_as_high() -> None:
    heights = {"a": 300, "b": 400, "c": 900, "d": 200, "e": None}
    pictures = [Picture(name, name, "", chart(height) if height else None) for name, height in heights.items()]
    written = page.render(report(*pictures))
    figures = re.findall(r'<figure( class=wide)?>\n<h3 id="(\w)-finding">', written)
    assert figures == [("", "a"), ("", "b"), (" class=wide", "c"), (" class=wide", "d"), (" class=wide", "e")]
    assert 'id="chart-d"' in written and 'id="chart-e"' not in written


def test_a_table_marks_its_numbers_its_gaps_and_how_a_value_is_to_be_taken() -> None:
    written = page.render(report(table(Cell("a", "bad"), Cell("-")), table()))
    assert '<thead><tr><th scope="col">name</th><th scope="col" class="number">count</th></tr></thead>' in written
    assert (
        '<tr><th scope="row" class="bad" data-label="name">a</th>'
        '<td class="none number" data-label="count">-</td></tr>' in written
    )
    assert 'id="agents-0-title"' in written and 'id="agents-1-title"' in written
    assert written.count("<table aria-labelledby") == 1


def test_a_cell_may_hold_an_id_to_copy_links_and_what_it_is_sorted_by() -> None:
    linked = Cell("2 h", sort=-2.0, links=[("open", "https://x.test/?a&b")])
    written = page.render(report(table(Cell("d1", is_id=True), linked)))
    assert '<th scope="row" data-label="name"><code class="id" title="d1">d1</code></th>' in written
    link = '<a href="https://x.test/?a&amp;b" rel="noopener noreferrer">open</a>'
    assert f'<td class="number" data-label="count" data-sort="-2.0">2\u00a0h {link}</td>' in written


@pytest.mark.parametrize(
    ("address", "leads"),
    [
        ("https://orgx.test/d/1", True),
        ("http://orgx.test", True),
        ("javascript:alert(1)", False),
        ("\njavascript://x/%0aalert(1)", False),
        ("data:text/html,x", False),
        ("//orgx.test", False),
        ("https://", False),
        ("", False),
        (None, False),
    ],
)
def test_only_web_addresses_become_links(address: str | None, *, leads: bool) -> None:
    assert content.is_web_address(address) is leads


def test_the_page_says_of_when_it_is_or_that_nothing_was_read() -> None:
    time = '<time datetime="2026-04-13T06:00:00+00:00">13 April 2026, 06:00 UTC</time>'
    assert f'<p class="as-of">As of {time}<span id="age"></span></p>' in page.render(report())
    assert '<p class="as-of">Nothing has been read yet: <code>orgx-sync run</code>' in page.render(report(as_of=None))


def test_a_row_with_more_cells_than_columns_is_an_error() -> None:
    with pytest.raises((UndefinedError, ValueError)):
        page.render(report(table(Cell("a"), Cell("1"), Cell("2"))))
