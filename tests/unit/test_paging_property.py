"""The promise of `Listing`, attacked: a list that changes between any two page reads, in every order."""

from __future__ import annotations

import os
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from orgx_source.api.listing import Order
from orgx_source.api.paging import Listing
from orgx_source.errors import DriftError
from tests.unit.moving_list import KEYS, START, MovingList, check_promise

EXAMPLES = int(os.environ.get("ORGX_EXAMPLES", "2000"))

PLACES = st.one_of(st.sampled_from([0.0, 0.999999]), st.floats(0, 0.999999))
STEPS = st.one_of(
    st.tuples(st.just("insert"), PLACES),
    st.tuples(st.just("delete"), PLACES, st.integers(1, 3)),
    st.tuples(st.just("bulk"), PLACES, st.integers(10, 80)),
    st.tuples(st.just("edit"), PLACES, PLACES),
)
REAL_ORDERS = {Order.CREATED: "created_asc", Order.UPDATED: "updated_desc", Order.UNKNOWN: "heap"}


class LazyExecutor:
    """Runs what is submitted at once, in order: pages really are read ahead, and each example is repeatable."""

    def submit(self, work: Any, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args))
        except Exception as error:  # handed to whoever asks for the result
            future.set_exception(error)
        return future


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[MovingList, dict[str, Any]]:
    asked = draw(st.sampled_from(list(Order)))
    real = REAL_ORDERS[asked]
    if draw(st.integers(0, 3)) == 0:
        real = draw(st.sampled_from(["created_asc", "created_desc", "updated_desc", "heap", "anywhere"]))
    page_size = draw(st.sampled_from([5, 10, 20]))
    script = draw(st.dictionaries(st.integers(1, 30), st.lists(STEPS, min_size=1, max_size=4), max_size=12))

    source = MovingList(
        size=draw(st.integers(0, 150)),
        order=real,
        seed=draw(st.integers(0, 99)),
        ties=draw(st.sampled_from([1, 1, 1, 3, 4, 30])),
        clamp=draw(st.sampled_from([100, 100, 100, 7, 3, 2, 1])),
        with_total=draw(st.booleans()),
        total_is=draw(st.sampled_from(["list", "list", "list", "page", "limit"])),
        with_has_more=draw(st.booleans()),
        with_echo=draw(st.booleans()),
        undated=draw(st.sampled_from([0, 0, 0.05, 0.5])),
        script=script,
    )
    options: dict[str, Any] = {"order": asked, "page_size": page_size}
    if draw(st.booleans()):
        options |= {"executor": LazyExecutor(), "ahead": draw(st.sampled_from([1, 3, 8, 16]))}
    return source, options


@settings(max_examples=EXAMPLES, deadline=None, derandomize="CI" in os.environ, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_no_row_is_lost_doubled_or_invented_while_the_list_moves(scenario: tuple[MovingList, dict[str, Any]]) -> None:
    source, options = scenario
    listing = Listing(source.fetch, KEYS, **options)
    obeys = source.order == REAL_ORDERS[options["order"]]
    try:
        check_promise(listing, source, obeys=obeys)
    except DriftError:
        # A list that happens to bring the same few rows at every offset; never one that is sorted as asked.
        assert not obeys
    event(f"{options['order'].name} {listing.report.verdict}")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(1, 300),
    st.integers(0, 40),
    st.dictionaries(st.integers(1, 8), st.lists(STEPS, min_size=1, max_size=3), max_size=4),
)
def test_an_early_stop_misses_no_row_changed_since_the_watermark(
    size: int, changed: int, script: dict[int, list[tuple[Any, ...]]]
) -> None:
    source = MovingList(size=size, order="updated_desc", script=script)
    watermark = START + timedelta(milliseconds=1)
    for number in range(changed):
        source.edit(((number * 37) % size) / size)
    wanted = {row["id"] for row in source.rows if row["updated"] >= watermark} & source.throughout
    listing = Listing(source.fetch, KEYS, order=Order.UPDATED, watermark=watermark, page_size=20)
    given_ids = {row["id"] for batch in listing for row in batch}
    if listing.report.verdict != "uncertified":
        assert wanted & source.throughout <= given_ids
    event(f"early={listing.report.stopped_early} {listing.report.verdict}")


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(
    st.sampled_from(list(Order)),
    st.integers(0, 200),
    st.sampled_from([100, 13, 7]),
    st.sampled_from(["page", "limit"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_total_that_counts_something_else_costs_no_row(
    order: Order, size: int, clamp: int, total_is: str, has_more: bool, echo: bool, look_ahead: bool
) -> None:
    real = {Order.CREATED: "created_asc", Order.UPDATED: "updated_desc", Order.UNKNOWN: "anywhere"}[order]
    source = MovingList(size=size, order=real, clamp=clamp, total_is=total_is, with_has_more=has_more, with_echo=echo)
    options: dict[str, Any] = {"executor": LazyExecutor()} if look_ahead else {}
    listing = Listing(source.fetch, KEYS, order=order, page_size=20, **options)
    assert {row["id"] for batch in listing for row in batch} == source.throughout


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(
    st.sampled_from(list(Order)), st.integers(0, 400), st.sampled_from([1, 3]), st.booleans(), st.sampled_from([100, 7])
)
def test_a_still_list_is_certified_and_complete(
    order: Order, size: int, ties: int, look_ahead: bool, clamp: int
) -> None:
    real = {Order.CREATED: "created_asc", Order.UPDATED: "updated_desc", Order.UNKNOWN: "anywhere"}[order]
    source = MovingList(size=size, order=real, ties=ties, clamp=clamp)
    options: dict[str, Any] = {"executor": LazyExecutor()} if look_ahead else {}
    listing = Listing(source.fetch, KEYS, order=order, page_size=20, **options)
    assert check_promise(listing, source).keys() == source.throughout
    assert listing.report.verdict == "certified", listing.report.reasons


QUIET_STEPS = st.one_of(
    st.tuples(st.just("insert"), PLACES),
    st.tuples(st.just("delete"), PLACES, st.just(1)),
    st.tuples(st.just("edit"), PLACES, PLACES),
)


@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([Order.CREATED, Order.UPDATED]),
    st.integers(0, 300),
    st.dictionaries(st.integers(1, 20), st.lists(QUIET_STEPS, min_size=1, max_size=2), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_an_ordinary_moving_list_is_not_doubted(
    order: Order, size: int, script: dict[int, list[tuple[Any, ...]]], has_more: bool, look_ahead: bool
) -> None:
    source = MovingList(size=size, order=REAL_ORDERS[order], script=script, with_has_more=has_more)
    options: dict[str, Any] = {"executor": LazyExecutor()} if look_ahead else {}
    listing = Listing(source.fetch, KEYS, order=order, page_size=20, **options)
    check_promise(listing, source)
    assert listing.report.verdict != "uncertified", listing.report.reasons
