"""What a read says of itself: its verdict follows from its end, its reasons and whether the list moved."""

from __future__ import annotations

from typing import Any

import pytest

from orgx_source.api.listing import ListingReport, Order
from orgx_source.api.paging import Listing
from tests.unit.moving_list import KEYS, MovingList


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({}, "uncertified"),
        ({"moved": True}, "uncertified"),
        ({"finished": True}, "certified"),
        ({"finished": True, "moved": True}, "repaired"),
        ({"finished": True, "reasons": ["no total"]}, "uncertified"),
        ({"finished": True, "moved": True, "reasons": ["no total"]}, "uncertified"),
    ],
)
def test_the_verdict_follows_from_what_was_seen(seen: dict[str, Any], verdict: str) -> None:
    assert ListingReport(**seen).verdict == verdict


def test_a_reason_that_is_noted_after_the_end_changes_the_verdict() -> None:
    report = ListingReport(finished=True)
    report.miss("no total")
    assert (report.verdict, report.gap) == ("uncertified", False)
    report.miss("rows are missing", gap=True)
    report.miss("rows are missing")
    assert (report.reasons, report.gap) == (["no total", "rows are missing"], True)


def test_a_read_that_is_given_up_is_not_certified() -> None:
    listing = Listing(MovingList(size=50).fetch, KEYS, order=Order.CREATED, page_size=20)
    assert len(next(iter(listing))) == 20
    assert listing.report.verdict == "uncertified"


@pytest.mark.parametrize(
    ("source", "gap"),
    [
        ({"with_total": False}, False),
        ({"total_is": "page"}, False),
        ({"script": {1: [("delete", 0.0, 1)]}, "order": "anywhere", "with_total": False}, True),
    ],
)
def test_only_rows_that_may_be_missing_are_a_gap(source: dict[str, Any], gap: bool) -> None:
    shape = MovingList(size=30, **source)
    order = Order.UNKNOWN if shape.order == "anywhere" else Order.CREATED
    listing = Listing(shape.fetch, KEYS, order=order, page_size=10)
    assert len([row for rows in listing for row in rows]) >= 28
    assert (listing.report.verdict, listing.report.gap) == ("uncertified", gap)


def test_fewer_rows_than_were_counted_are_a_gap() -> None:
    source = MovingList(size=30)

    def fetch(offset: int, limit: int) -> Any:
        page = source.fetch(offset, limit)
        return type(page)(page.rows, total=31, offset=offset, limit=limit, has_more=page.has_more)

    listing = Listing(fetch, KEYS, order=Order.CREATED, page_size=10)
    assert len([row for rows in listing for row in rows]) == 30
    assert (listing.report.gap, listing.report.short_by) == (True, 1)
