"""When rows that vanished are believed to be gone: tables of cases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orgx_source.reading.doubts import SAMPLE, Doubt, is_plausible, weigh


def ids(count: int, first: int = 0) -> list[str]:
    return [f"row-{number:04}" for number in range(first, first + count)]


def seen(gone: list[str], living: int, route: str = "/tasks", key: str = "a") -> Doubt:
    return Doubt("2026-11-20", len(gone), living, tuple(gone), route, key)


def doubt(gone: list[str], living: int, before: Doubt | None = None, *, suspect: bool = False) -> Doubt | None:
    return weigh(seen(gone, living), before, gone, suspect=suspect)


@pytest.mark.parametrize(
    ("gone", "living", "plausible"),
    [
        (1, 1, True), (4, 4, True), (5, 9, False), (5, 10, True), (14, 15, False), (10, 20, True), (19, 38, True),
        (19, 37, False), (20, 38, False), (20, 66, False), (20, 67, True), (300, 1000, True), (301, 1000, False),
    ],
)  # fmt: skip
def test_few_rows_may_well_go_and_much_of_a_table_not(gone: int, living: int, *, plausible: bool) -> None:
    assert is_plausible(gone, living) is plausible
    assert (doubt(ids(gone), living) is None) is plausible


def test_where_nothing_is_missing_there_is_no_doubt() -> None:
    assert doubt([], 10, suspect=True) is None


def test_even_one_row_is_doubted_when_something_speaks_against_the_read() -> None:
    first = doubt(ids(1), 100, suspect=True)
    assert first is not None
    assert doubt(ids(1), 100, first, suspect=True) is None


def test_what_vanished_twice_is_believed() -> None:
    first = doubt(ids(50), 60)
    assert first is not None
    assert (first.reads, first.count, first.living) == (1, 50, 60)
    assert doubt(ids(50), 60, first) is None
    assert doubt(ids(55), 60, first) is None


def test_a_table_that_is_empty_all_at_once_is_believed_the_third_time() -> None:
    first = doubt(ids(60), 60)
    second = doubt(ids(60), 60, first)
    assert second is not None
    assert second.reads == 2
    assert doubt(ids(60), 60, second) is None


@pytest.mark.parametrize(
    "later",
    [
        seen(ids(50, first=1), 60),
        seen(ids(60), 60),
        seen(ids(56), 60),
        seen(ids(50), 60, route="/another"),
        seen(ids(50), 60, key="b"),
    ],
    ids=["other-rows", "all-rows", "more-rows", "another-route", "another-key"],
)
def test_another_loss_is_a_doubt_of_its_own(later: Doubt) -> None:
    first = doubt(ids(50), 60)
    assert weigh(later, first, list(later.ids), suspect=False) == replace(later, reads=1)


def test_a_doubt_keeps_the_day_and_the_rows_of_its_first_read() -> None:
    first = doubt(ids(60), 60)
    assert first is not None
    again = weigh(replace(seen(ids(60), 60), first_at="2026-11-21"), first, ids(60), suspect=False)
    assert again == replace(first, reads=2)


def test_of_many_rows_a_sample_over_all_of_them_is_kept() -> None:
    kept = doubt(ids(1000), 1000)
    assert kept is not None
    assert list(kept.ids) == ids(1000)[:: 1000 // SAMPLE]
    assert Doubt.from_json(kept.to_json()) == kept
