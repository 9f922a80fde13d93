"""Observations that need confirmation: many rows that vanish at once, and versions older than the stored ones.

Pure functions of values, without I/O. A doubt is stored until a later read confirms or contradicts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

# If more of a table than this vanishes at once, later reads must confirm it.
IMPLAUSIBLE_SHARE = 0.3
IMPLAUSIBLE_ROWS = 20
# In a small table, half of the rows are few, but still more than an ordinary day deletes.
SMALL_SHARE, SMALL_ROWS = 0.5, 5
# So few may be deleted on the word of one run that could not ask for them by id.
FEW_SHARE, FEW_ROWS = 0.1, 2
# How far two reads may differ and still confirm each other: more rows may be deleted in between.
TOLERANCE = 0.1
SAMPLE = 100
READS_THAT_AGREE = 2
# An empty list is a typical sign of a broken server.
READS_THAT_AGREE_ON_NOTHING = 3


@dataclass(frozen=True, slots=True)
class Doubt:
    """Rows that vanished in a full read and were not marked as deleted.

    Attributes:
        first_at: When this was first seen (UTC, ISO 8601).
        count: Number of vanished rows.
        living: Number of rows before.
        ids: A sample of their ids, in order.
        route: The route that lacked them.
        key: Digest of the key used.
        reads: Number of full reads that saw this.
    """

    first_at: str
    count: int
    living: int
    ids: tuple[str, ...]
    route: str
    key: str
    reads: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for the state."""
        return {**asdict(self), "ids": list(self.ids)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Doubt:
        """Return the doubt that `to_json` serialised."""
        return cls(**{**stored, "ids": tuple(stored["ids"])})

    def is_seen_again_in(self, later: Doubt) -> bool:
        """Return whether a later read by the same route and key lacked the same rows, and hardly any others."""
        return (
            (self.route, self.key) == (later.route, later.key)
            and later.count <= max(self.count + 2, self.count * (1 + TOLERANCE))
            and set(self.ids) <= set(later.ids)
        )


def is_plausible(gone: int, living: int) -> bool:
    """Return whether a table can plausibly have lost this many rows since the last read."""
    if gone <= IMPLAUSIBLE_SHARE * living:
        return True
    return gone < SMALL_ROWS or (gone < IMPLAUSIBLE_ROWS and gone <= SMALL_SHARE * living)


def are_few(gone: int, living: int) -> bool:
    """Return whether so few rows vanished that two reads of the list in one run are evidence enough."""
    return gone <= max(FEW_ROWS, FEW_SHARE * living)


def weigh(seen: Doubt, before: Doubt | None, gone: Sequence[str], *, suspect: bool) -> Doubt | None:
    """Return the remaining doubt about vanished rows; None if they count as deleted.

    Args:
        seen: The observation of this read, which covers all of ``gone``.
        before: The doubt stored by an earlier read.
        gone: Ids of the vanished rows, in order.
        suspect: Whether this read is unreliable, however few rows are missing from it.
    """
    if not gone or (is_plausible(seen.count, seen.living) and not suspect):
        return None
    reads = before.reads + 1 if before is not None and before.is_seen_again_in(seen) else 1
    needed = READS_THAT_AGREE_ON_NOTHING if seen.count == seen.living else READS_THAT_AGREE
    if reads >= needed:
        return None
    first_at = before.first_at if before is not None and reads > 1 else seen.first_at
    sample = before.ids if before is not None and reads > 1 else tuple(gone[:: max(1, len(gone) // SAMPLE)])
    return replace(seen, first_at=first_at, ids=sample, reads=reads)
