"""Sequences that are known: all of them in `make search`, a few different ones each hour otherwise."""

from __future__ import annotations

import os
import time

import pytest

from tests.sequences.known import KNOWN, Known
from tests.sequences.shrink import replay
from tests.sequences.troubles import enabled

# A run that is killed within this process leaves open what dlt was writing.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

AT_LEAST = 4
SEQUENCES = int(os.environ.get("ORGX_SEQUENCES", "4"))
STOOD = [known for known in KNOWN if known.stood and set(known.kinds) <= enabled().keys()]


def chosen() -> list[Known]:
    """Return the sequences to try."""
    count = min(len(STOOD), max(AT_LEAST, SEQUENCES))
    start = int(time.time() // 3600) * count % len(STOOD)
    return (STOOD + STOOD)[start : start + count]


@pytest.mark.parametrize("known", chosen(), ids=lambda known: known.name.replace(" ", "-"))
def test_no_run_claims_what_is_not_so_and_quiet_ones_bring_the_truth(known: Known) -> None:
    if error := replay(known.steps):
        raise error
