"""Whether counts add up, and whether a read can tell that a row is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orgx_source.api.listing import ListingReport
from orgx_source.api.routes import ROUTES
from orgx_source.reading.deletions import adds_up, is_proof


@pytest.mark.parametrize(
    ("total", "gap", "living", "out_of_sight", "expected"),
    [
        (None, False, 5, 0, True),
        (None, True, 5, 0, False),
        (5, True, 5, 0, False),
        (5, False, 5, 0, True),
        (5, False, 8, 3, True),
        (5, False, 8, 2, False),
        (5, False, 4, 0, False),
    ],
)
def test_counts_add_up(total: int | None, living: int, out_of_sight: int, *, gap: bool, expected: bool) -> None:
    assert adds_up(total, living, lambda: out_of_sight, gap=gap) is expected


def test_rows_out_of_sight_are_counted_only_where_counts_differ() -> None:
    def count() -> int:
        raise AssertionError("it was counted")

    assert adds_up(5, 5, count, gap=False)
    assert not adds_up(5, 8, count, gap=True)


@pytest.mark.parametrize(
    ("finished", "gap", "caveat", "expected"),
    [
        (True, False, None, True),
        (False, False, None, False),
        (True, True, None, False),
        (True, False, "only some are listed", False),
    ],
)
def test_only_a_read_to_the_end_without_a_gap_proves_that_a_row_is_gone(
    caveat: str | None, *, finished: bool, gap: bool, expected: bool
) -> None:
    route = replace(ROUTES["tasks"][0], caveat=caveat)
    assert is_proof(ListingReport(finished=finished, gap=gap), route) is expected
