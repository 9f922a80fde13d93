"""What a read says of itself: its verdict follows from its end, its reasons and whether the list moved."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from orgx_source.api.envelope import Page
from orgx_source.api.listing import ListingReport, Order
from orgx_source.api.paging import Listing
from tests.unit.moving_list import KEYS, START, MovingList


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


def day(number: int) -> datetime:
    return START + timedelta(days=number)


@pytest.mark.parametrize(
    ("order", "days", "obeyed", "shown"),
    [
        # Pairs of created and updated, in days; none where a row does not say.
        (Order.UPDATED, [(1, 9), (2, 8), (3, 7)], True, True),
        (Order.UPDATED, [(3, 9), (2, 8), (1, 7)], True, False),  # newest made first looks the same
        (Order.UPDATED, [(3, 9), (1, 8), (2, 7)], True, True),
        (Order.UPDATED, [(1, 9), (2, 9), (3, 9)], True, False),  # changed at one time: any order would do
        (Order.UPDATED, [(1, 9), (1, 8)], True, False),
        (Order.UPDATED, [(None, 9), (2, 8), (None, 7)], True, False),
        (Order.UPDATED, [(1, None), (2, 8)], True, False),
        (Order.UPDATED, [(1, 9)], True, False),
        (Order.UPDATED, [(1, 99), (2, 8)], True, False),  # in the future
        (Order.UPDATED, [(1, 9), (2, 8), (3, 10)], False, False),
        (Order.CREATED, [(1, 9), (2, 9)], True, True),
        (Order.CREATED, [(1, 9), (1, 8)], True, False),
        (Order.CREATED, [(1, 9)], True, False),
        (Order.CREATED, [(1, 9), (99, 99)], True, False),
        (Order.CREATED, [(2, 9), (1, 9), (3, 9)], False, False),
        (Order.UNKNOWN, [(1, 9), (2, 8)], None, False),
    ],
)
def test_the_order_is_shown_by_rows_that_another_order_would_not_bring(
    order: Order, days: list[tuple[int | None, int | None]], obeyed: bool | None, shown: bool
) -> None:
    rows = [
        {"id": str(place), "created": made and day(made), "updated": changed and day(changed)}
        for place, (made, changed) in enumerate(days)
    ]
    page = Page(rows, total=len(rows), limit=100, has_more=False)
    listing = Listing(lambda offset, limit: page, KEYS, order=order, now=lambda: day(30))
    assert sum(map(len, listing)) == len(rows)
    assert (listing.report.order_obeyed, listing.report.order_shown) == (obeyed, shown)


def test_an_order_that_was_shown_is_shown_no_more_when_a_later_page_breaks_it() -> None:
    source = MovingList(size=60, order="created_asc")
    listing = Listing(source.fetch, KEYS, order=Order.CREATED, page_size=20)
    batches = iter(listing)
    next(batches)
    assert listing.report.order_shown
    source.rows.reverse()
    list(batches)
    assert (listing.report.order_obeyed, listing.report.order_shown) == (False, False)


@pytest.mark.parametrize("real", ["created_desc", "updated_desc"])
def test_a_server_that_sends_newest_made_first_shows_no_order_by_change(real: str) -> None:
    source = MovingList(size=60, order=real)
    for place in (0.9, 0.5, 0.7):
        source.edit(place)
    listing = Listing(source.fetch, KEYS, order=Order.UPDATED, watermark=START, page_size=20)
    list(listing)
    assert listing.report.order_shown is (real == "updated_desc")
