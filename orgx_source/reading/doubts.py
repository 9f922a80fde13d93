"""What a read saw and nobody believes yet: rows that vanished at once, and copies older than what is stored.

Decisions about values, which ask nobody. A doubt is kept with the data until a later read agrees or contradicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

# Refuse to believe that so much of a table vanished at once, unless later reads agree.
IMPLAUSIBLE_SHARE = 0.3
IMPLAUSIBLE_ROWS = 20
# In a small table half of it is few rows, and still not what a day brings.
SMALL_SHARE, SMALL_ROWS = 0.5, 5
# How far two reads may differ that see the same rows missing: some went meanwhile.
TOLERANCE = 0.1
SAMPLE = 100
READS_THAT_AGREE = 2
# Nothing at all is what a server says that has lost its way.
READS_THAT_AGREE_ON_NOTHING = 3


@dataclass(frozen=True, slots=True)
class Doubt:
    """Rows that vanished in a full read, and were not marked as deleted.

    Attributes:
        first_at: When that was seen first (UTC, ISO 8601).
        count: How many rows vanished.
        living: How many rows there were.
        ids: Some of them, in order.
        route: Where they were missing.
        key: Digest of the key that did not see them.
        reads: How many full reads have seen it.
    """

    first_at: str
    count: int
    living: int
    ids: tuple[str, ...]
    route: str
    key: str
    reads: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return it for the state."""
        return {**asdict(self), "ids": list(self.ids)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Doubt:
        """Return what `to_json` gave."""
        return cls(**{**stored, "ids": tuple(stored["ids"])})

    def is_seen_again_in(self, later: Doubt) -> bool:
        """Return whether a later read saw the same rows missing: there, with that key, and hardly more of them."""
        return (
            (self.route, self.key) == (later.route, later.key)
            and later.count <= max(self.count + 2, self.count * (1 + TOLERANCE))
            and set(self.ids) <= set(later.ids)
        )


def is_plausible(gone: int, living: int) -> bool:
    """Return whether so many rows of a table can well have gone since the last read."""
    if gone <= IMPLAUSIBLE_SHARE * living:
        return True
    return gone < SMALL_ROWS or (gone < IMPLAUSIBLE_ROWS and gone <= SMALL_SHARE * living)


def weigh(seen: Doubt, before: Doubt | None, gone: Sequence[str], *, suspect: bool) -> Doubt | None:
    """Return the doubt that remains about rows that vanished; None when they are believed to be gone.

    Args:
        seen: What this read saw, with all of ``gone`` in it.
        before: The doubt that an earlier read left.
        gone: Ids of the rows that vanished, in order.
        suspect: Whether something speaks against this read, however few rows are missing in it.
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
