"""Whether counts add up, and whether rows that vanished are believed to be gone."""

from __future__ import annotations

from typing import Any

import pytest

from orgx_source.reading.deletions import VANISHED_SAMPLE, adds_up, doubted


@pytest.mark.parametrize(
    ("total", "verdict", "living", "out_of_sight", "expected"),
    [
        (None, "uncertified", 5, 0, True),
        (5, "uncertified", 5, 0, False),
        (5, "certified", 5, 0, True),
        (5, "repaired", 5, 0, True),
        (5, "certified", 8, 3, True),
        (5, "certified", 8, 2, False),
        (5, "certified", 4, 0, False),
    ],
)
def test_counts_add_up(total: int | None, verdict: Any, living: int, out_of_sight: int, *, expected: bool) -> None:
    assert adds_up(total, verdict, living, lambda: out_of_sight) is expected


def test_rows_out_of_sight_are_counted_only_where_counts_differ() -> None:
    def count() -> int:
        raise AssertionError("it was counted")

    assert adds_up(5, "certified", 5, count)
    assert not adds_up(5, "uncertified", 8, count)


def ids(count: int, first: int = 0) -> list[str]:
    return [f"row-{number:04}" for number in range(first, first + count)]


@pytest.mark.parametrize(
    ("gone", "living", "nothing_came", "believed"),
    [
        (1, 2, False, True),
        (19, 20, False, True),
        (20, 30, False, False),
        (20, 66, False, False),
        (20, 67, False, True),
        (300, 1000, False, True),
        (301, 1000, False, False),
        (1, 1000, True, False),
    ],
)
def test_few_that_vanish_are_believed_and_much_at_once_is_not(
    gone: int, living: int, *, nothing_came: bool, believed: bool
) -> None:
    assert (doubted(ids(gone), living, frozenset(), nothing_came=nothing_came) == []) is believed


def test_what_vanished_twice_is_believed() -> None:
    before = frozenset(doubted(ids(50), 60, frozenset(), nothing_came=False))
    assert doubted(ids(50), 60, before, nothing_came=False) == []
    assert doubted(ids(55), 60, before, nothing_came=True) == []


def test_another_set_of_rows_that_vanished_is_not_the_same() -> None:
    before = frozenset(doubted(ids(50), 60, frozenset(), nothing_came=False))
    assert doubted(ids(50, first=1), 60, before, nothing_came=False) == ids(50, first=1)


def test_of_many_rows_a_sample_over_all_of_them_is_remembered() -> None:
    sample = doubted(ids(1000)[::-1], 1000, frozenset(), nothing_came=False)
    assert sample == ids(1000)[:: 1000 // VANISHED_SAMPLE]
