"""Where a list ends, by what its pages say, and what it costs to know that."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from orgx_source.api.envelope import Page
from orgx_source.api.listing import Order
from orgx_source.api.paging import Listing
from tests.unit.moving_list import KEYS, MovingList, check_promise
from tests.unit.test_paging_property import LazyExecutor

REAL_ORDERS = {Order.CREATED: "created_asc", Order.UPDATED: "updated_desc", Order.UNKNOWN: "anywhere"}
# Rows of the list, at 100 a page, to the requests for a list by created_at, by updated_at and of unknown order, when
# a page says: total, has_more and limit; then without limit; without has_more; only the total. Without a total, none is
# certified, and the requests are the same.
COSTS: dict[int, tuple[tuple[int, int, int], ...]] = {
    0: ((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    1: ((1, 1, 1), (1, 1, 1), (1, 1, 1), (3, 3, 3)),
    2: ((1, 1, 1), (1, 1, 1), (1, 1, 1), (3, 3, 3)),
    99: ((1, 1, 1), (1, 1, 1), (1, 1, 1), (2, 3, 3)),
    100: ((2, 2, 2), (2, 2, 2), (2, 3, 3), (2, 3, 3)),
    101: ((2, 3, 4), (2, 3, 4), (2, 3, 4), (3, 4, 6)),
}


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("with_total", [True, False])
@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("size", COSTS)
def test_a_small_list_is_certified_by_whatever_its_pages_say_beside_the_total(
    size: int, order: Order, with_total: bool, look_ahead: bool
) -> None:
    for costs, (with_has_more, with_echo) in zip(COSTS[size], product([True, False], repeat=2), strict=True):
        source = MovingList(
            size=size,
            order=REAL_ORDERS[order],
            with_total=with_total,
            with_has_more=with_has_more,
            with_echo=with_echo,
        )
        options: dict[str, Any] = {"executor": LazyExecutor()} if look_ahead else {}
        listing = Listing(source.fetch, KEYS, order=order, **options)
        assert check_promise(listing, source).keys() == source.throughout
        reasons = [] if with_total else ["OrgX reports no total to compare with"]
        assert listing.report.reasons == reasons
        assert listing.report.verdict == ("certified" if with_total else "uncertified")
        allowed = costs[list(Order).index(order)]
        # Without a total, a limit that is echoed says no end.
        assert source.reads <= allowed + (0 if with_total or with_has_more else 2)


@pytest.mark.parametrize("with_has_more", [True, False])
@pytest.mark.parametrize("with_echo", [True, False])
@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("page_size", [19, 95, 100])
@pytest.mark.parametrize("order", Order)
def test_a_total_from_a_cache_that_counts_too_few_hides_no_row(
    order: Order, page_size: int, look_ahead: bool, with_echo: bool, with_has_more: bool
) -> None:
    source = MovingList(size=520, order=REAL_ORDERS[order], with_echo=with_echo)

    def fetch(offset: int, limit: int) -> Page:
        # What the server says of the end it derives from the total.
        page = source.fetch(offset, limit)
        return replace(page, total=95, has_more=offset + limit < 95 if with_has_more else None)

    options: dict[str, Any] = {"executor": LazyExecutor()} if look_ahead else {}
    listing = Listing(fetch, KEYS, order=order, page_size=page_size, **options)
    assert {row["id"] for rows in listing for row in rows} == source.throughout
    assert listing.report.verdict == "uncertified"
    assert listing.report.total_doubtful
    assert not listing.report.gap


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("with_total", "with_has_more"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("order", Order)
def test_a_page_shorter_than_the_overlap_is_not_the_end_if_it_says_that_rows_follow(
    order: Order, look_ahead: bool, with_has_more: bool, with_total: bool, seed: int
) -> None:
    source = MovingList(size=520, order=REAL_ORDERS[order], with_total=with_total)
    rng = random.Random(seed)

    def fetch(offset: int, limit: int) -> Page:
        # Some servers limit a response by its bytes.
        page = source.fetch(offset, limit)
        rows = page.rows[: 100 if offset == 0 else rng.choice([4, 7, 40, 100])]
        return replace(page, rows=rows, has_more=offset + len(rows) < len(source.rows) if with_has_more else None)

    options: dict[str, Any] = {"executor": LazyExecutor()} if look_ahead else {}
    listing = Listing(fetch, KEYS, order=order, **options)
    assert check_promise(listing, source).keys() == source.throughout
    assert not listing.report.short_by
    assert source.reads < 200


@pytest.mark.parametrize("with_total", [True, False])
@pytest.mark.parametrize("order", Order)
def test_a_list_that_always_promises_more_ends_nevertheless(order: Order, with_total: bool) -> None:
    source = MovingList(size=150, order=REAL_ORDERS[order], with_total=with_total)
    listing = Listing(lambda *page: replace(source.fetch(*page), has_more=True), KEYS, order=order)
    assert check_promise(listing, source).keys() == source.throughout
    assert source.reads <= (6 if with_total else 30)


def test_a_full_last_page_costs_one_more_request() -> None:
    for size, requests in ((189, 2), (190, 3), (191, 3)):
        source = MovingList(size=size)
        assert len(check_promise(Listing(source.fetch, KEYS, order=Order.CREATED), source)) == size
        assert source.reads == requests


def test_a_list_that_moves_while_its_only_page_is_looked_at_again_is_not_certified() -> None:
    source = MovingList(size=1, with_has_more=False, with_echo=False, script={2: [("insert", 0.0)]}, order="anywhere")
    listing = Listing(source.fetch, KEYS)
    check_promise(listing, source)
    assert listing.report.verdict == "uncertified"


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("stored", [0, 60])
@pytest.mark.parametrize(("with_total", "with_has_more"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("size", [21, 39, 60, 230])
@pytest.mark.parametrize("order", Order)
def test_a_server_that_counts_what_it_gives_hides_no_row(
    order: Order, size: int, with_total: bool, with_has_more: bool, stored: int, look_ahead: bool
) -> None:
    source = MovingList(size=size, order=REAL_ORDERS[order], clamp=20)

    def fetch(offset: int, limit: int) -> Page:
        page = source.fetch(offset, limit)
        total = len(page.rows) if with_total else None
        return replace(page, limit=limit, total=total, has_more=False if with_has_more else None)

    options: dict[str, Any] = {"executor": LazyExecutor()} if look_ahead else {}
    listing = Listing(fetch, KEYS, order=order, stored=stored, **options)
    assert {row["id"] for rows in listing for row in rows} == source.throughout
    assert listing.report.verdict == "uncertified"
    assert source.reads < 2 * size


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize(("stored", "more"), [(0, 1), (59, 0), (60, 0), (61, 1)])
def test_only_a_first_page_with_fewer_rows_than_are_stored_is_confirmed(order: Order, stored: int, more: int) -> None:
    for ties in (1, 7, 60):
        source = MovingList(size=60, order=REAL_ORDERS[order], ties=ties)
        listing = Listing(source.fetch, KEYS, order=order, stored=stored)
        assert len(check_promise(listing, source)) == 60
        assert listing.report.verdict == "certified"
        assert source.reads <= 1 + more * (2 if ties == 7 else 1)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("step", [("insert", 0.5), ("delete", 0.5, 3), ("edit", 0.2, 0.9), ("delete", 0.0, 60)])
def test_a_list_that_moves_while_its_only_page_is_confirmed_is_read_whole(order: Order, step: tuple[Any, ...]) -> None:
    source = MovingList(size=60, order=REAL_ORDERS[order], script={1: [step]})
    listing = Listing(source.fetch, KEYS, order=order, stored=0)
    check_promise(listing, source)
    assert listing.report.verdict != "uncertified" or order is Order.UNKNOWN
    assert source.reads < 12
