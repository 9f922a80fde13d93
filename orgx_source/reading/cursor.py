"""Decides where a read begins and where the next one will. Pure functions of values, without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orgx_source.api.listing import ListingReport

# An event may be written later than its own timestamp. Known events are cheap, so a feed is read one day back each
# time, and one month back once a week.
FEED_OVERLAP = timedelta(days=1)
LOOK_BACK = timedelta(days=30)
LOOK_BACK_EVERY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Past:
    """The stored state of earlier reads of a table.

    Attributes:
        cursor: Time up to which changes are known.
        whole_read_at: When the last full read began.
        was_cut_short: Whether a long read of changes was interrupted.
        is_of_origin: Whether all this is about the current route, workspace and key, and its rows were stored.
        has_rows: Whether the warehouse has any row.
        is_doubted: Whether rows missing from the last full read were not accepted as deleted.
        looked_back_at: When a feed was last read one month back.
        left_gap: Whether the last full read of a feed did not reach its oldest events.
    """

    cursor: datetime | None = None
    whole_read_at: datetime | None = None
    was_cut_short: bool = False
    is_of_origin: bool = False
    has_rows: bool = False
    is_doubted: bool = False
    looked_back_at: datetime | None = None
    left_gap: bool = False


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a read begins.

    Attributes:
        watermark: Only changes since this time are read; None for a full read.
        offset: Rows already read by an earlier, interrupted read.
        because: The reason.
        looks_back: Whether it is the weekly read of a feed one month back, or in full if older events are missing.
    """

    watermark: datetime | None
    offset: int
    because: str
    looks_back: bool = False


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the settings, the route and the destination allow.

    Attributes:
        can_be_asked: Whether the destination can be queried.
        tells_changes: Whether the route supports reading changes.
        keeps_order: Whether it last returned rows in the requested order.
        is_feed: Whether rows are only added, and are requested by their time.
        full: Whether to read everything again.
        full_every: Maximum age of the last full read; None for a table to which rows are only added.
        overlap: How far before the cursor a read starts.
    """

    can_be_asked: bool
    tells_changes: bool
    full: bool
    full_every: timedelta | None
    overlap: timedelta
    keeps_order: bool = True
    is_feed: bool = False


def begin(past: Past, wishes: Wishes, now: datetime) -> Beginning:
    """Return how a read begins, with the reason.

    Args:
        past: The state of earlier reads.
        wishes: What is allowed.
        now: Start of the read, by this machine's clock.
    """
    because = _why_whole(past, wishes, now)
    if because is not None or past.cursor is None:
        return Beginning(None, 0, because or "no earlier full read is recorded")
    looks_back = wishes.is_feed and (past.looked_back_at is None or now - past.looked_back_at >= LOOK_BACK_EVERY)
    if looks_back and past.left_gap:
        # Otherwise nothing would ever read them: a later list may go further back.
        because = "the last full read did not reach the oldest events"
        return Beginning(None, 0, because, looks_back)  # guard: oldest-events
    overlap = max(wishes.overlap, FEED_OVERLAP) if wishes.is_feed else wishes.overlap
    watermark = past.cursor - (LOOK_BACK if looks_back else overlap)
    return Beginning(watermark, 0, f"changes since {watermark:%Y-%m-%d %H:%M} UTC", looks_back)


def _why_whole(past: Past, wishes: Wishes, now: datetime) -> str | None:
    if not wishes.can_be_asked:
        return "the destination cannot be queried"
    if wishes.full:
        return "a full read was requested"
    if not wishes.tells_changes:
        return "the route does not support reading changes"
    if not wishes.keeps_order:
        return "the route did not return rows in the requested order"
    if past.whole_read_at is None or not past.has_rows:
        return "no earlier full read is recorded"
    if past.was_cut_short:
        return "a long read of changes was interrupted"
    if not past.is_of_origin:
        return "the last read used another route, workspace or key, or its rows are not in the warehouse"
    if past.is_doubted:
        return "rows were missing from the last full read; another full read must confirm this"
    age = now - past.whole_read_at
    if wishes.full_every is not None and age >= wishes.full_every:
        return f"the last full read is {age / timedelta(days=1):.1f} days old"
    return None


@dataclass(frozen=True, slots=True)
class Ending:
    """The result of a completed read.

    Attributes:
        cursor: Time up to which changes are known now; None if no row has a time.
        whole_at: Start of the read if it was a full read that counts; else None.
        total: OrgX's total; None if there is none, or it is unreliable.
        exit_code: Exit code required by this read.
    """

    cursor: datetime | None
    whole_at: datetime | None
    total: int | None
    exit_code: int


def end(
    listing: ListingReport, past: Past, newest: datetime | None, *, whole_at: datetime | None, bound: datetime
) -> Ending:
    """Return the result of a read.

    Args:
        listing: The report of the read.
        past: The state before.
        newest: The latest change among the rows received.
        whole_at: Start of the read, if it was a full one.
        bound: Start of the read by the slower clock: changes during the read are read next time.
    """
    seen = None if listing.gap and past.cursor is not None else newest  # guard: cursor-before-a-gap
    latest = max((moment for moment in (past.cursor, seen) if moment is not None), default=None)
    # The first full read counts whatever its verdict: without one, every later read would be a full read.
    counts = (listing.finished and not listing.gap) or past.whole_read_at is None
    total = listing.totals[2] if listing.totals and not listing.total_doubtful else None
    return Ending(
        cursor=None if latest is None else min(latest, bound),  # guard: cursor-behind-the-start
        whole_at=whole_at if counts else None,
        total=total,
        exit_code=4 if listing.may_be_mended or listing.short_by or listing.rows_without_id else 0,  # guard: rows-left
    )
