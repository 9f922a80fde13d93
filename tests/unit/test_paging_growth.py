"""Lists that grow while they are read: as fast as they are read, slower, or only by a total that was too small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from orgx_source.api import paging
from orgx_source.api.envelope import Page
from orgx_source.api.listing import Order
from orgx_source.api.paging import Listing
from tests.unit.moving_list import KEYS, START, MovingList

PAGE = 20
STEP = 18


@dataclass
class Growing:
    """A list to which ``growth`` rows are added between two requests; ``told`` makes of its total what a page says."""

    size: int
    growth: float
    order: Order = Order.CREATED
    told: Callable[[int, int], int | None] = lambda total, _: total
    dated: bool = True
    reads: int = 0
    list: MovingList = field(init=False)
    due: float = 0.0

    def __post_init__(self) -> None:
        self.list = MovingList(size=self.size, order="created_asc")

    @property
    def keys(self) -> Any:
        return KEYS if self.dated else replace(KEYS, created=lambda row: None)

    def now(self) -> datetime:
        return self.list.now

    def fetch(self, offset: int, limit: int) -> Page:
        assert self.reads < 2_000, "does not end"
        self.due += self.growth if self.reads else 0
        if self.due >= 1:
            # In order, so that sorting them costs nothing.
            self.list.now += timedelta(seconds=1)
            for _ in range(int(self.due)):
                self.list._append(self.list.tick())
            self.due %= 1
        self.reads += 1
        page = self.list.fetch(offset, limit)
        return replace(page, total=self.told(len(self.list.rows), self.reads))


@pytest.fixture(autouse=True)
def few_uncounted_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "UNCOUNTED_PAGES", 300)


def read(source: Growing, *, clock: bool = True) -> tuple[Listing, int]:
    options: dict[str, Any] = {"now": source.now} if clock else {}
    listing = Listing(source.fetch, source.keys, order=source.order, page_size=PAGE, **options)
    return listing, sum(map(len, listing))


@pytest.mark.parametrize("clock", [True, False])
@pytest.mark.parametrize(
    ("size", "growth"), [(21, STEP), (21, 2 * STEP), (40, STEP), (900, STEP), (900, 2 * STEP), (900, 0.9 * STEP)]
)
def test_a_list_that_grows_as_fast_as_it_is_read_ends_and_says_so(size: int, growth: float, clock: bool) -> None:
    source = Growing(size, growth)
    listing, came = read(source, clock=clock)
    assert (listing.report.verdict, listing.report.gap) == ("uncertified", True)
    assert f"the list grows as fast as it is read; stopped after {source.reads} pages" in listing.report.reasons
    assert came >= size
    assert source.reads <= 4 * (size // STEP + 2) + 101


@pytest.mark.parametrize(("clock", "dated", "most"), [(True, True, 105), (False, True, 355), (True, False, 355)])
def test_without_a_total_the_times_of_the_rows_tell_that_it_grows_or_a_bound_ends_the_read(
    clock: bool, dated: bool, most: int
) -> None:
    order = Order.CREATED if dated else Order.UNKNOWN
    source = Growing(40, STEP, order=order, told=lambda total, _: None, dated=dated)
    listing, came = read(source, clock=clock)
    assert (listing.report.verdict, listing.report.gap) == ("uncertified", True)
    assert came > 40
    assert source.reads <= most


@pytest.mark.parametrize(
    "told",
    [
        lambda total, reads: 25,
        lambda total, reads: 25 if reads < 10 else total,
        lambda total, reads: 25 if reads < 80 else total,
        lambda total, reads: 25 if reads < 130 else total,
        lambda total, reads: 25 + 10 * reads,
        lambda total, reads: None,
        lambda total, reads: total,
    ],
)
@pytest.mark.parametrize("growth", [0, 1])
def test_a_list_whose_total_was_too_small_at_first_is_read_to_its_end(
    told: Callable[[int, int], int | None], growth: float
) -> None:
    source = Growing(9_000, growth, told=told)
    listing, came = read(source)
    assert came >= 9_000
    assert not any("grows" in reason for reason in listing.report.reasons)


def test_a_read_of_changes_that_is_outrun_is_no_whole_one() -> None:
    source = MovingList(size=100, order="updated_desc", script={n: [("insert", 0.0)] * 18 for n in range(1, 900)})
    watermark = START - timedelta(days=30)
    listing = Listing(source.fetch, KEYS, order=Order.UPDATED, watermark=watermark, page_size=PAGE)
    assert sum(map(len, listing)) > 0
    assert (listing.report.verdict, listing.report.gap, listing.report.stopped_early) == ("uncertified", True, True)
    assert source.reads < 200
