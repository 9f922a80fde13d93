"""Where a read begins, and where the next one will: decisions about values, which ask nobody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orgx_source.api.listing import ListingReport

# An event may be written later than its own time says. Known ones cost nothing, so a feed is read a day back each
# time, and a month back once a week.
FEED_OVERLAP = timedelta(days=1)
LOOK_BACK = timedelta(days=30)
LOOK_BACK_EVERY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of earlier reads of a table.

    Attributes:
        cursor: Changes up to here are known.
        whole_read_at: When the last full read began.
        was_cut_short: Whether a long read of changes did not come to its end.
        is_of_origin: Whether all this speaks of the route and workspace that are read now, and its rows did arrive.
        has_rows: Whether the warehouse holds any row.
        is_doubted: Whether rows were missing from the last full read that nobody believed to be gone.
        looked_back_at: When a feed was last read far back.
    """

    cursor: datetime | None = None
    whole_read_at: datetime | None = None
    was_cut_short: bool = False
    is_of_origin: bool = False
    has_rows: bool = False
    is_doubted: bool = False
    looked_back_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a read begins.

    Attributes:
        watermark: Only what changed since is read; None reads the whole table.
        offset: Rows that an earlier read, which was cut short, has read already.
        because: Why.
        looks_back: Whether it is the far look back that a feed gets now and then.
    """

    watermark: datetime | None
    offset: int
    because: str
    looks_back: bool = False


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the settings, the route and the destination allow.

    Attributes:
        can_be_asked: Whether the destination tells what it holds.
        tells_changes: Whether the route can be asked for what changed.
        keeps_order: Whether it sent rows in the order that was asked for, the last time that it showed.
        is_feed: Whether rows are only added, and are asked for by their time.
        full: Whether everything is to be read again.
        full_every: How old the last full read may become; None for a table to which rows are only added.
        overlap: How far before the cursor a read goes back.
    """

    can_be_asked: bool
    tells_changes: bool
    full: bool
    full_every: timedelta | None
    overlap: timedelta
    keeps_order: bool = True
    is_feed: bool = False


def begin(past: Past, wishes: Wishes, now: datetime) -> Beginning:
    """Return how a read begins, and why.

    Args:
        past: What is known of earlier reads.
        wishes: What is allowed.
        now: When it begins, by this machine's clock.
    """
    because = _why_whole(past, wishes, now)
    if because is not None or past.cursor is None:
        return Beginning(None, 0, because or "no full read of it is recorded")
    looks_back = wishes.is_feed and (past.looked_back_at is None or now - past.looked_back_at >= LOOK_BACK_EVERY)
    overlap = max(wishes.overlap, FEED_OVERLAP) if wishes.is_feed else wishes.overlap
    watermark = past.cursor - (LOOK_BACK if looks_back else overlap)
    return Beginning(watermark, 0, f"what changed since {watermark:%Y-%m-%d %H:%M} UTC", looks_back)


def _why_whole(past: Past, wishes: Wishes, now: datetime) -> str | None:
    if not wishes.can_be_asked:
        return "the destination cannot be queried"
    if wishes.full:
        return "a full read was requested"
    if not wishes.tells_changes:
        return "the route does not support reading changes"
    if not wishes.keeps_order:
        return "the route did not keep the requested order"
    if past.whole_read_at is None or not past.has_rows:
        return "no full read of it is recorded"
    if past.was_cut_short:
        return "a long read of changes was interrupted"
    if not past.is_of_origin:
        return "the last read was of another route or workspace, or what it read is not in the warehouse"
    if past.is_doubted:
        return "rows were missing from the last full read, and another one must confirm it"
    age = now - past.whole_read_at
    if wishes.full_every is not None and age >= wishes.full_every:
        return f"the last full read is {age / timedelta(days=1):.1f} days old"
    return None


@dataclass(frozen=True, slots=True)
class Ending:
    """What a read that came to its end leaves.

    Attributes:
        cursor: Changes up to here are known now; None when no row told a time.
        whole_at: When the full read began that this was; None when it was none that counts.
        total: What OrgX counts; None where it does not, or its count cannot be relied on.
        exit_code: What the run must at least leave with.
    """

    cursor: datetime | None
    whole_at: datetime | None
    total: int | None
    exit_code: int


def end(
    listing: ListingReport, past: Past, newest: datetime | None, *, whole_at: datetime | None, bound: datetime
) -> Ending:
    """Return what a read leaves.

    Args:
        listing: What was seen.
        past: What was known before.
        newest: The latest change among the rows that came.
        whole_at: When the read began, if it was a whole one.
        bound: The start of the read, by whichever clock is behind: what changes meanwhile comes next time.
    """
    seen = None if listing.gap and past.cursor is not None else newest  # guard: cursor-before-a-gap
    latest = max((moment for moment in (past.cursor, seen) if moment is not None), default=None)
    # The first full read counts however sure it is: without one, every later read would be whole.
    counts = (listing.finished and not listing.gap) or past.whole_read_at is None
    total = listing.totals[2] if listing.totals and not listing.total_doubtful else None
    return Ending(
        cursor=None if latest is None else min(latest, bound),  # guard: cursor-behind-the-start
        whole_at=whole_at if counts else None,
        total=total,
        exit_code=4 if listing.may_be_mended or listing.short_by or listing.rows_without_id else 0,  # guard: rows-left
    )
