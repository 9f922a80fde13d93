"""Types for reading a list: order, keys, report with verdict, and resume position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from math import inf
from typing import Literal, get_args

from orgx_source.api.envelope import Row
from orgx_source.texts import visible

Verdict = Literal["certified", "repaired", "uncertified", "sample"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


def worse(one: Verdict, other: Verdict) -> Verdict:
    """Return the weaker of two verdicts."""
    return max(one, other, key=VERDICTS.index)


class Order(Enum):
    """The requested order; each page is checked for it."""

    CREATED = "created_at ascending"
    UPDATED = "updated_at descending"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RowKeys:
    """How to read the keys needed for paging from a row.

    Attributes:
        id: The row's id as text; None if it has none.
        created: When the row was created; None if unknown.
        updated: When the row last changed; None if unknown.
    """

    id: Callable[[Row], str | None]
    created: Callable[[Row], datetime | None]
    updated: Callable[[Row], datetime | None]


@dataclass
class ListingReport:
    """Observations while a list was read.

    Attributes:
        finished: Whether the read reached the end of the list.
        moved: Whether there were signs that the list changed during the read.
        reasons: Sentences, one per missing piece of evidence.
        gap: Whether rows that existed throughout the read may be missing.
        may_be_mended: Whether a later read may return what is missing.
        pages: Pages received.
        received: Rows in those pages, including repeats.
        repeats: Rows received again, apart from the requested overlap.
        seams_repaired: Gaps between two pages that were closed by reading earlier offsets.
        passes: How often the whole list was read.
        rows_without_id: Rows without an id; they are skipped.
        totals: Smallest, largest and last ``total`` that OrgX reported; None if it reported none.
        order_obeyed: Whether the rows were in the requested order; None before the first page.
        order_shown: Whether the rows distinguish this order from others. For ``updated_at`` descending: a row created
            before its successor although it changed later, which never occurs when sorted by creation. For
            ``created_at`` ascending: a row created before its successor. Equal and future times show nothing.
        stopped_early: Whether reading ended at the watermark instead of the end of the list.
        total_doubtful: Whether ``total`` counts something other than the list.
        short_by: Number of rows by which ``total`` exceeds those received.
        page_size: Actual number of rows in a full page.
    """

    finished: bool = False
    moved: bool = False
    reasons: list[str] = field(default_factory=list)
    gap: bool = False
    may_be_mended: bool = False
    pages: int = 0
    received: int = 0
    repeats: int = 0
    seams_repaired: int = 0
    passes: int = 1
    rows_without_id: int = 0
    totals: tuple[int, int, int] | None = None
    order_obeyed: bool | None = None
    order_shown: bool = False
    stopped_early: bool = False
    total_doubtful: bool = False
    short_by: int = 0
    page_size: int = 0

    @property
    def verdict(self) -> Verdict:
        """How reliable the read is.

        ``certified``: all evidence is present. ``repaired``: the same, although the list changed. ``uncertified``:
        evidence is missing, see ``reasons``, or the read did not reach its end.
        """
        if self.reasons or not self.finished:
            return "uncertified"
        return "repaired" if self.moved else "certified"

    def note_total(self, total: int) -> None:
        """Record a total."""
        low, high, _ = self.totals or (total,) * 3
        self.totals = (min(low, total), max(high, total), total)

    def miss(self, reason: str, *, gap: bool = False) -> None:
        """Record a missing piece of evidence; also allowed after the end.

        Args:
            reason: A sentence.
            gap: Whether rows may be missing, not only a confirmation of them.
        """
        reason = visible(reason)
        self.gap = self.gap or gap
        self.may_be_mended = self.may_be_mended or gap
        if reason not in self.reasons:
            self.reasons.append(reason)

    def note_limit(self, reason: str) -> None:
        """Record that rows may be missing because the route cannot return more, even in a later read."""
        mended = self.may_be_mended
        self.miss(reason, gap=True)
        self.may_be_mended = mended


@dataclass(frozen=True, slots=True)
class Position:
    """Position in a list whose rows keep their places; a later read can continue from here.

    Attributes:
        offset: End of the last accepted page.
        covered_to: Sort key: the creation time in Unix seconds, negated if the newest come first. Every row that
            existed throughout and has a smaller key has been received.
        tied: Whether more rows than a page holds share one time before it, so that their order proves nothing.
        head: Sort key at the head when the list was first read, if the newest come first; newer rows are read at the
            end. None if new rows come last.
        workspace: Id of the workspace of the list; None for the list read without naming one.
        met: Workspaces with rows in the list read without naming one.
    """

    offset: int
    covered_to: float
    tied: bool = False
    head: float | None = None
    workspace: str | None = None
    met: tuple[str, ...] = ()

    def made_between(self, earlier: Position | None) -> tuple[float, float]:
        """Return between which times those rows were made that lie behind an earlier place and before this one.

        Args:
            earlier: Where the read that came to this place began; None where it began at the head of the list.
        """
        begin = earlier.covered_to if earlier else self.head
        return (begin or 0.0, self.covered_to) if self.head is None else (-self.covered_to, -(begin or -inf))
