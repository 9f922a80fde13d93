"""What a listing is asked for, and what it says of itself: order, keys, how far it came, how sure it is."""

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
    """Return which of two verdicts claims less."""
    return max(one, other, key=VERDICTS.index)


class Order(Enum):
    """The order that was asked for; whether the rows obey it is checked on each page."""

    CREATED = "created_at ascending"
    UPDATED = "updated_at descending"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RowKeys:
    """How to read from a row what paging needs.

    Attributes:
        id: The row's id as text; None when it has none.
        created: When the row was made; None when it does not say.
        updated: When the row last changed; None when it does not say.
    """

    id: Callable[[Row], str | None]
    created: Callable[[Row], datetime | None]
    updated: Callable[[Row], datetime | None]


@dataclass
class ListingReport:
    """What was seen while a listing was read.

    Attributes:
        finished: Whether the read came to its end.
        moved: Whether anything hinted that the list changed while it was read.
        reasons: Sentences, each a piece of evidence that is missing.
        gap: Whether rows that existed throughout the read may be missing.
        may_be_mended: Whether a later read may bring what this one misses.
        pages: Requests that brought a page of this listing.
        received: Rows in those pages, repeats included.
        repeats: Rows that came again beyond the overlap that was asked for.
        seams_repaired: Gaps between two pages that were closed by reading earlier offsets.
        passes: How often the whole list was read.
        rows_without_id: Rows without an id; they are kept out.
        totals: Smallest, largest and last ``total`` that OrgX reported; None when it reported none.
        order_obeyed: Whether the rows came in the order that was asked for; None before the first page.
        order_shown: Whether rows came that tell this order from others. For ``updated_at`` descending: one made before
            its successor although it changed later, which newest-made-first never brings. For ``created_at`` ascending:
            one made before its successor. Rows of one time, and times in the future, show nothing.
        stopped_early: Whether reading ended at the watermark instead of the end of the list.
        total_doubtful: Whether ``total`` counts something else than the list.
        short_by: How many rows ``total`` promises beyond those that came.
        page_size: Rows a full page really held.
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
        """How sure the read is.

        ``certified``: all evidence is present. ``repaired``: likewise, though the list moved. ``uncertified``: evidence
        is missing, see ``reasons``, or the read did not come to its end.
        """
        if self.reasons or not self.finished:
            return "uncertified"
        return "repaired" if self.moved else "certified"

    def note_total(self, total: int) -> None:
        """Note what OrgX counts."""
        low, high, _ = self.totals or (total,) * 3
        self.totals = (min(low, total), max(high, total), total)

    def miss(self, reason: str, *, gap: bool = False) -> None:
        """Note a piece of evidence that is missing, also after the end.

        Args:
            reason: A sentence.
            gap: Whether rows may be missing, rather than only a second source that would confirm them.
        """
        reason = visible(reason)
        self.gap = self.gap or gap
        self.may_be_mended = self.may_be_mended or gap
        if reason not in self.reasons:
            self.reasons.append(reason)

    def note_limit(self, reason: str) -> None:
        """Note that rows may be missing because the route cannot be asked for more: no later read does better."""
        mended = self.may_be_mended
        self.miss(reason, gap=True)
        self.may_be_mended = mended


@dataclass(frozen=True, slots=True)
class Position:
    """How far a listing has come whose rows keep their places; a later listing can go on from here.

    Attributes:
        offset: Where the last page that was accepted ended.
        covered_to: Sort key, which is the time of creation in Unix seconds, negative where the newest come first; every
            row that existed throughout and has a smaller one has come.
        tied: Whether rows that share one time, more than a page holds, lie before it: their order proves nothing.
        head: Sort key at the head of the list when it was first read, where the newest come first: what is newer is
            read at the end. None where new rows come last.
        workspace: Id of the workspace whose list it is; None for the list that is read without naming one.
        met: The workspaces whose rows have come from the list that is read without naming one.
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
