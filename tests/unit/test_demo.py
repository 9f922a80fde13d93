"""When the demonstration syncs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from orgx_source.cli.demo import days_of_syncs


@pytest.mark.parametrize(("days", "count"), [(1, 2), (2, 3), (28, 7), (120, 16), (366, 47)])
def test_syncs_lie_evenly_and_the_last_night_is_an_ordinary_one(days: int, count: int) -> None:
    found = days_of_syncs(days)
    assert len(found) == count
    assert (found[0], found[-2:]) == (0, [days - 1, days])
    assert max(later - earlier for earlier, later in pairwise(found)) <= 9
