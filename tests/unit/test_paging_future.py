"""Rows that are stamped in the future: times beyond the server's clock prove nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orgx_source.api.listing import Order
from orgx_source.api.paging import CLOCK_TOLERANCE_SECONDS, Listing
from tests.unit.moving_list import KEYS, START, MovingList, check_promise
from tests.unit.test_paging_property import EXAMPLES, QUIET_STEPS, REAL_ORDERS, LazyExecutor

YEAR = timedelta(days=365)


def with_future(size: int, future: int, order: Order, *, apart: int = 1, **options: Any) -> MovingList:
    """Return a list of which some rows were made, and last changed, next year; ``apart`` 0: at one time."""
    source = MovingList(size=size, order=REAL_ORDERS[order], **options)
    chosen = source.rng.sample(source.rows, min(future, size))
    for number, row in enumerate(chosen):
        row["created"] = row["updated"] = START + YEAR + timedelta(seconds=apart * number)
    source._sort()
    return source


def listed(source: MovingList, order: Order, **options: Any) -> Listing:
    return Listing(source.fetch, KEYS, order=order, page_size=20, now=lambda: source.now, **options)


def changed_since(source: MovingList, *, number: int) -> set[str]:
    """Edit so many rows that are not from the future; return their ids."""
    for row in [row for row in source.rows if row["updated"] < START][:number]:
        source.edit(next(place for place, other in enumerate(source.rows) if other is row) / len(source.rows))
    return {row["id"] for row in source.rows if row["version"] > 1}


@pytest.mark.parametrize("future", [1, 5, 20, 30])
def test_a_row_from_the_future_at_the_head_does_not_end_its_second_look_too_early(future: int) -> None:
    # Behind the third page, 25 changed rows that have not come change again: more than a page of them is at the head.
    source = with_future(200, future, Order.UPDATED)
    changed = changed_since(source, number=70)
    last = (future + 69) / len(source.rows)
    source.script = {3 + future // 18: [("edit", last, 0.0)] * 25}
    listing = listed(source, Order.UPDATED, watermark=START)
    came = {row["id"] for rows in listing for row in rows}
    assert changed <= came or (future >= 20 and listing.report.verdict == "uncertified")
    if future < 20:
        assert listing.report.verdict == "repaired"


@pytest.mark.parametrize("apart", [0, 1])
@pytest.mark.parametrize("future", [0, 1, 15, 19, 20, 25, 60, 120])
@pytest.mark.parametrize("order", [Order.CREATED, Order.UPDATED])
def test_a_still_list_is_certified_however_many_of_its_rows_are_from_the_future(
    order: Order, future: int, apart: int
) -> None:
    source = with_future(120, future, order, apart=apart)
    listing = listed(source, order)
    assert check_promise(listing, source).keys() == source.throughout
    assert listing.report.verdict == "certified", listing.report.reasons
    assert source.reads <= 24


@pytest.mark.parametrize(("ahead_of_clock", "early"), [(-1, True), (CLOCK_TOLERANCE_SECONDS, True), (3600, False)])
def test_a_watermark_in_the_future_stops_nothing(ahead_of_clock: float, early: bool) -> None:
    source = with_future(100, 0, Order.UPDATED)
    watermark = source.now + timedelta(seconds=ahead_of_clock)
    listing = listed(source, Order.UPDATED, watermark=watermark)
    assert sum(map(len, listing)) == (20 if early else 100)
    assert listing.report.stopped_early is early


@pytest.mark.parametrize("future", [0, 1, 19, 25])
def test_changes_behind_rows_from_the_future_are_read_to_the_watermark(future: int) -> None:
    source = with_future(200, future, Order.UPDATED)
    changed = changed_since(source, number=30)
    listing = listed(source, Order.UPDATED, watermark=START)
    assert changed <= {row["id"] for rows in listing for row in rows}
    assert listing.report.stopped_early
    assert source.reads <= 14


def test_all_rows_in_the_future_are_read_to_the_end_whatever_the_watermark() -> None:
    source = with_future(60, 60, Order.UPDATED)
    listing = listed(source, Order.UPDATED, watermark=START)
    assert len(check_promise(listing, source)) == 60
    assert (listing.report.verdict, listing.report.stopped_early) == ("certified", False)


def test_a_place_to_go_on_never_lies_in_the_future() -> None:
    source = with_future(60, 30, Order.CREATED)
    listing = listed(source, Order.CREATED)
    assert len(check_promise(listing, source)) == 60
    again = listed(with_future(60, 45, Order.CREATED), Order.CREATED)
    batches = again.__iter__()
    next(batches)
    assert again.position is not None
    assert again.position.covered_to < START.timestamp()
    beyond = listed(with_future(60, 60, Order.CREATED), Order.CREATED)
    next(iter(beyond))
    assert beyond.position is None


def test_of_two_versions_the_later_copy_counts_when_one_is_from_the_future() -> None:
    source = with_future(60, 1, Order.UPDATED)
    first = source.rows[0]["id"]
    source.script = {2: [("edit", 0.0, 0.0)]}
    came = check_promise(listed(source, Order.UPDATED), source)
    assert came[first]["version"] == 2


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([Order.CREATED, Order.UPDATED]),
    st.integers(0, 120),
    st.sampled_from([1, 3, 15, 25, 50]),
    st.sampled_from([0, 1]),
    st.dictionaries(st.integers(1, 12), st.tuples(QUIET_STEPS, st.integers(1, 40)), max_size=4),
    st.integers(0, 80),
    st.booleans(),
)
def test_no_row_is_lost_whatever_moves_around_the_future(
    order: Order,
    size: int,
    future: int,
    apart: int,
    script: dict[int, tuple[tuple[Any, ...], int]],
    changed: int,
    look_ahead: bool,
) -> None:
    source = with_future(size, future, order, apart=apart)
    wanted = changed_since(source, number=changed)
    source.script = {number: [step] * times for number, (step, times) in script.items()}
    options: dict[str, Any] = {"executor": LazyExecutor()} if look_ahead else {}
    if order is Order.CREATED:
        check_promise(listed(source, order, **options), source)
        return
    listing = listed(source, order, watermark=START, **options)
    came = {row["id"] for rows in listing for row in rows}
    assert wanted & source.throughout <= came or listing.report.verdict == "uncertified"
