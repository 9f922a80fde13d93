"""Pages of different age: some from the list as it is, others from a copy of it that is 90 minutes old."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from orgx_source.api.envelope import Page
from orgx_source.api.listing import Order
from orgx_source.api.paging import PAGES_DIFFER, Listing
from tests.unit.moving_list import KEYS, MovingList
from tests.unit.test_paging_property import LazyExecutor

REAL_ORDERS = {Order.CREATED: "created_asc", Order.UPDATED: "updated_desc", Order.UNKNOWN: "heap"}


@dataclass
class Replicas:
    """A list of 900 rows, and a copy of it.

    Attributes:
        order: What both are sorted by.
        edited: How often a row of the list was edited since it was copied.
        is_old: Which of the two answers, by the number of the request, from 0, and by its offset.
    """

    order: Order
    edited: int
    is_old: Callable[[int, int], bool]
    reads: int = 0
    fresh: MovingList = field(init=False)
    old: MovingList = field(init=False)

    def __post_init__(self) -> None:
        self.fresh = MovingList(size=900, order=REAL_ORDERS[self.order])
        for number in range(60):
            self.fresh.edit((number * 37 % 900) / 900)
        self.old = deepcopy(self.fresh)
        self.copied = self.fresh.now
        self.fresh.now += timedelta(minutes=90)
        for number in range(self.edited):
            self.fresh.edit((number * 41 % 900) / 900)

    def fetch(self, offset: int, limit: int) -> Page:
        source = self.old if self.is_old(self.reads, offset) else self.fresh
        self.reads += 1
        return source.fetch(offset, limit)

    def changed(self) -> dict[str, int]:
        return {row["id"]: row["version"] for row in self.fresh.rows if (row["updated"] or self.copied) > self.copied}


WAYS: dict[str, Callable[[int, int], bool]] = {
    "only the first answer is new": lambda number, offset: number > 0,
    "only the head is new": lambda number, offset: offset > 0,
    "every other answer is new": lambda number, offset: number % 2 == 1,
    "only the first answer is old": lambda number, offset: number == 0,
    "only the head is old": lambda number, offset: offset == 0,
}
EDITED = [0, 20, 95, 150, 250, 400]


def read(source: Replicas, *, look_ahead: bool, **options: Any) -> tuple[Listing, dict[str, int]]:
    """Return the listing, and the version of each row that came."""
    if look_ahead:
        options["executor"] = LazyExecutor()
    listing = Listing(source.fetch, KEYS, order=source.order, **options)
    came = {row["id"]: row["version"] for rows in listing for row in rows}
    assert source.reads < 80
    return listing, came


def check_changes(source: Replicas, listing: Listing, came: dict[str, int]) -> None:
    wanted = source.changed()
    if {row_id: came.get(row_id) for row_id in wanted} != wanted:
        assert (listing.report.verdict, listing.report.gap) == ("uncertified", True)
    if not wanted:
        assert listing.report.verdict == "certified"


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("edited", EDITED)
@pytest.mark.parametrize("way", list(WAYS)[:3])
def test_a_read_of_changes_brings_all_or_says_that_it_may_not(way: str, edited: int, look_ahead: bool) -> None:
    # With an old head nothing can tell: it is the list of 90 minutes ago, and the read ends on it.
    source = Replicas(Order.UPDATED, edited, WAYS[way])
    check_changes(source, *read(source, look_ahead=look_ahead, watermark=source.copied - timedelta(hours=3)))


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("edited", EDITED)
@pytest.mark.parametrize("order", [Order.UPDATED, Order.UNKNOWN])
@pytest.mark.parametrize("way", WAYS)
def test_a_whole_read_brings_all_changes_or_says_that_it_may_not(
    way: str, order: Order, edited: int, look_ahead: bool
) -> None:
    source = Replicas(order, edited, WAYS[way])
    check_changes(source, *read(source, look_ahead=look_ahead))


@pytest.mark.parametrize("way", list(WAYS)[:3])
def test_a_read_of_still_rows_notices_older_copies_where_its_pages_overlap(way: str) -> None:
    source = Replicas(Order.CREATED, 250, WAYS[way])
    listing, came = read(source, look_ahead=False)
    assert came.keys() == source.fresh.throughout
    assert (listing.report.verdict, listing.report.gap) == ("uncertified", True)
    assert listing.report.reasons == [PAGES_DIFFER]


def test_a_page_that_never_meets_is_asked_for_a_few_times_and_what_lies_behind_it_still_comes() -> None:
    source = Replicas(Order.UPDATED, 250, WAYS["only the head is new"])
    listing, came = read(source, look_ahead=False, watermark=source.copied - timedelta(hours=300))
    assert listing.report.reasons == [PAGES_DIFFER]
    assert listing.report.stopped_early
    assert {row["id"] for row in source.old.rows[90:300]} <= came.keys()
    assert source.reads <= 15
