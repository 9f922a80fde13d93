"""Reads a full list through offset pages while its rows move.

The guarantee: every row that existed throughout the read is returned, each id once in the newest version seen, and no
other row is; or the verdict is ``uncertified`` and says why. The module knows neither HTTP nor tables: a callable
fetches a page, and three functions return a row's id and times.

How the guarantee is kept, by order of the list:

* **Sorted and obeyed** (``created_at`` ascending, ``updated_at`` descending): a page is a contiguous slice, so it
  holds every row whose sort key lies strictly between its first and its last. Slices that overlap in key space
  leave no gap, whatever was inserted or deleted between the requests. Pages are requested with an overlap; if the
  slices do not meet, earlier offsets are read until they do.
* **updated_at descending**: an edit moves a row to the head, before the current position. So the head is read again
  until a single page reaches back before the first request.
* **Any other order**: nothing can be derived from the keys. Seams are compared id by id, and the list is read
  twice: two passes without signs of movement that return the same ids have missed nothing.

``total`` is a cross-check for all three, never a proof: an insert and a deletion cancel out.

All this holds for one list. Pages may also come from copies of different age: a lagging replica, a cache. The content
reveals them: rows in older versions than before, a head that lacks earlier rows although the count did not fall, seams
that cannot be joined. Such a read is ``uncertified``, whatever a second pass returns.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from math import inf, isnan, nan

from orgx_source.api.envelope import Page, Row
from orgx_source.api.listing import ListingReport, Order, Position, RowKeys
from orgx_source.errors import DriftError
from orgx_source.rows.row_ids import RowIds

FetchPage = Callable[[int, int], Page]
"""``(offset, limit) -> Page``: one request, or a slice of a test's list."""

PAGE_SIZE = 100
AHEAD = 16
HEAD_ROUNDS = 6
# Maximum number of consecutive pages that meet the previous one but have nothing new; after that, it is not a list.
VAIN_REPAIRS = 3
# ``Date`` has whole seconds, is slightly old, and may come from a machine whose clock is behind the one that stamps the
# rows: together less than this. A row dated into the future by less hides at most the changes of that many seconds.
CLOCK_TOLERANCE_SECONDS = 5.0

# Progress is checked after this multiple of the pages that the first total promises, plus a constant. A cached total
# may be far too small; the end comes nearer nevertheless.
PATIENCE = 4
PATIENCE_PAGES = 50
# Limit for a list without a total and without creation times: two million rows at 100 per page.
UNCOUNTED_PAGES = 20_000

PAGES_DIFFER = "pages of the list contradict each other, as if they were of different age"


@dataclass(slots=True)
class _Slice:
    """One received page: its offset, its ids, and its sort keys (None for a row without one).

    ``known`` is the number of ids known when it was requested.
    """

    offset: int
    page: Page
    rows: Sequence[Row]
    ids: list[str | None]
    keys: list[float | None]
    known: int

    @property
    def end(self) -> int:
        return self.offset + len(self.ids)

    @property
    def first_key(self) -> float | None:
        return next((key for key in self.keys if key is not None), None)

    @property
    def last_key(self) -> float | None:
        return next((key for key in reversed(self.keys) if key is not None), None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A requested page: its offset, its future, and the number of ids known at that time."""

    offset: int
    future: Future[Page] | None
    known: int


@dataclass(slots=True)
class _Look:
    """State of a walk at its last progress check, and rows received since.

    Attributes:
        requests: Pages requested by then.
        left: Rows to the end according to the total; None if there is none or it counts something else.
        dated: Rows since then with a creation time.
        young: Those of them created since the read began.
    """

    requests: int
    left: int | None
    dated: int = 0
    young: int = 0


@dataclass(slots=True)
class _Pass:
    """The knowledge gained by one walk from offset 0.

    Attributes:
        ids: Ids received. The listing uses the first walk's set and keeps no second one.
        covered_to: Every row that existed throughout and has a smaller sort key has been received.
        first_key: Sort key at the head when the walk began; if rows at the head have none, the first one after them.
        keyless: Pages requested before the one that contained it.
        moved: Whether there were signs that the list changed meanwhile.
        unproven: Whether the sort keys cannot exclude a gap.
        tied: Whether the only cause is that more rows than a page holds share one time or have none.
        without_id: Positions in the list of rows without an id.
        requests: Pages requested.
        repeated_head: Consecutive pages equal to the first page.
        empty_at: Smallest offset of an empty page.
        vain_repairs: Consecutive seams whose repair found nothing new.
        look: The last progress check; None before the first one.
        is_head: Whether it rereads the head, after which all rows have been received.
        resume: Its start; None for offset 0.
    """

    ids: Set[str] = field(default_factory=set)
    covered_to: float = float("-inf")
    first_key: float | None = None
    keyless: int = 0
    moved: bool = False
    unproven: bool = False
    tied: bool = False
    without_id: set[int] = field(default_factory=set)
    requests: int = 0
    repeated_head: int = 0
    empty_at: int | None = None
    vain_repairs: int = 0
    look: _Look | None = None
    is_head: bool = False
    resume: Position | None = None

    def add(self, ids: Iterable[str]) -> None:
        """Record these ids."""
        if isinstance(self.ids, set):
            self.ids.update(ids)


def _is_sorted(keys: Sequence[float | None]) -> bool:
    return all(a <= b for a, b in pairwise(key for key in keys if key is not None))


def needs_confirmation(received: int, stored: int) -> bool:
    """Whether a first page that claims to be the full list may be cut: total and has_more may cover only this page.

    Args:
        received: Rows of the page. No server limits a page to one row.
        stored: Rows of the list in the warehouse; a page with as many is believed.
    """
    return received > 1 and not 0 < stored <= received


class Listing:
    """Iterate to receive the rows; ``report`` is complete after the iteration.

    Yields lists of rows, each id once. Only rows that changed during the read are yielded a second time, in the newer
    version, in the last list.
    """

    _position: Position | None = None
    _first_total: int | None = None
    _began_at: float | None = None
    _first_is_all = False
    _total_doubtful = False
    _torn = False
    _outrun = False
    _is_uneven = False
    _is_contradicted = False

    def __init__(
        self,
        fetch: FetchPage,
        keys: RowKeys,
        *,
        order: Order = Order.UNKNOWN,
        watermark: datetime | None = None,
        resume: Position | None = None,
        stored: int | None = None,
        page_size: int = PAGE_SIZE,
        executor: Executor | None = None,
        ahead: int = AHEAD,
        now: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        """Prepare the read; sends no request before the first iteration.

        Args:
            fetch: Fetches one page.
            keys: Reads id and times from a row.
            order: The order requested.
            watermark: With ``Order.UPDATED``: everything older is known; stop there if the order is obeyed.
            resume: Position of an earlier listing in this order; of its rows, only a head with new rows is read again.
            stored: Rows of this list in the warehouse. A first page that claims to be the full list is followed by one
                more request if it has fewer rows, or none are stored; None believes every first page.
            page_size: Rows to request; the server may return fewer.
            executor: Fetches pages ahead; None fetches them one after another.
            ahead: Maximum number of pages to fetch ahead.
            now: Last known time of the clock that stamps the rows; None if unknown. A row with a later time counts as a
                row without a time.
        """
        self.report = ListingReport()
        self._fetch = fetch
        self._keys = keys
        self._order = order
        self._watermark = None if watermark is None or order is not Order.UPDATED else -watermark.timestamp()
        self._resume = resume if order is not Order.UNKNOWN else None
        self._stored = stored if self._resume is None else None
        self._page_size = page_size
        self._executor = executor
        self._ahead = ahead
        self._now = now
        self._latest = -inf
        self._size = page_size
        self._given = RowIds()
        # By position of the id: when the last yielded version changed; NaN if unknown.
        self._stamps = array("d")
        self._held: dict[str, Row] = {}
        self._revised: dict[str, Row] = {}
        self._first_ids: list[str | None] = []

    @property
    def position(self) -> Position | None:
        """Position from which a later listing can continue; None if the order of the rows proves nothing.

        With ``Order.UPDATED`` it is valid only if no row can get a new time, or all rows with a new time are read.
        """
        return self._position if self.report.order_obeyed and self.report.passes == 1 else None

    def __iter__(self) -> Iterator[list[Row]]:
        """Read the list.

        Raises:
            DriftError: The server ignores ``offset``, or the list changes too fast to be read.
        """
        current, previous = _Pass(self._given, resume=self._resume), None
        self._look_at_clock()
        if self._watermark is not None and self._is_future(-self._watermark):
            self._watermark = None
        yield from self._read_whole(current, self._watermark)
        if self._wants_second_pass(current):
            previous, current = current, _Pass()
            previous.ids = set(previous.ids)
            self.report.passes = 2
            yield from self._read_whole(current, self._watermark if self.report.stopped_early else None)
        self._judge(current, previous)
        if self._revised:
            yield list(self._revised.values())

    def _read_whole(self, state: _Pass, stop_at: float | None) -> Iterator[list[Row]]:
        yield from self._walk(state, stop_at)
        if self._outrun:
            return
        self._look_again(state)
        several = state.requests > 1 or self._resume is not None  # guard: head-of-a-resumed-list
        if self._order is Order.UPDATED and several and not self._came_at_once(state):
            yield from self._reread_head(state)

    # -- one walk ------------------------------------------------------------------------------------------------

    def _walk(self, state: _Pass, stop_at: float | None, *, inclusive: bool = False) -> Iterator[list[Row]]:
        """Read from offset 0 or a place to the end, or until the keys pass ``stop_at`` (``inclusive``: reach it)."""
        resume = state.resume
        last = self._read(0, state) if resume is None else self._find_position(resume, state)
        state.first_key = last.first_key if resume is None or resume.head is None else resume.head
        self._learn_page_size(last)
        fresh, ended = self._accept(last, state, last)
        yield fresh
        ahead: deque[_Asked] = deque()
        bridged: _Slice | None = None
        try:
            while not (ended or self._passed(last, stop_at, inclusive)):
                if bridged is not None:
                    piece = bridged
                else:
                    self._look_ahead(ahead, last, stop_at)
                    piece = self._receive(ahead.popleft(), state)
                late = piece is bridged
                repaired, before = self.report.seams_repaired, len(state.ids)
                joined = self._join(piece, last, state)
                if joined is piece:
                    bridged = None
                elif bridged is None and repaired == self.report.seams_repaired:
                    # One page bridges rows that share a time; the next one, and those read ahead, are still valid.
                    bridged = piece
                else:
                    # Pages read ahead start at offsets that no longer refer to the same rows.
                    bridged = None
                    self._forget(ahead)
                fresh, ended = self._accept(joined, state, last, late=late and joined is piece)
                if state.first_key is None and joined.first_key is not None:
                    # Only rows without a usable time precede it, so newer rows arrived after it was requested.
                    state.first_key, state.keyless = joined.first_key, state.requests - 1
                yield fresh
                last = joined
                vain = repaired < self.report.seams_repaired and len(state.ids) == before
                state.vain_repairs = state.vain_repairs + 1 if vain else 0
                ended = self._goes_in_circles(last, state) or ended
                if not ended and self._is_outrun(last, state):
                    self._outrun = True
                    break
        finally:
            self._forget(ahead)
        if stop_at is not None and stop_at == self._watermark and not ended:
            self.report.stopped_early = True

    def _find_position(self, resume: Position, state: _Pass) -> _Slice:
        """Return a page that starts after the covered rows: deletions since have moved the rest up."""
        state.covered_to = resume.covered_to
        state.tied = resume.tied
        back = max(2, self._page_size // 10)
        piece = self._read(max(0, resume.offset - back), state)
        while piece.offset > 0 and not self._is_behind(piece, resume):
            back *= 2
            piece = self._read(max(0, piece.offset - back), state)
        return piece

    @staticmethod
    def _is_behind(piece: _Slice, resume: Position) -> bool:
        """Whether the page starts with known rows; among rows with the same time, this is all that can be checked."""
        if resume.tied:
            return bool(piece.ids) and (piece.first_key is None or piece.first_key <= resume.covered_to)
        return piece.first_key is not None and piece.first_key < resume.covered_to

    def _passed(self, piece: _Slice, stop_at: float | None, inclusive: bool) -> bool:
        if stop_at is None or not self.report.order_obeyed or piece.last_key is None:
            return False
        return piece.last_key >= stop_at if inclusive else piece.last_key > stop_at

    def _read(self, offset: int, state: _Pass) -> _Slice:
        return self._receive(_Asked(offset, None, len(self._given)), state)

    def _receive(self, asked: _Asked, state: _Pass) -> _Slice:
        offset, report = asked.offset, self.report
        page = asked.future.result() if asked.future else self._fetch(offset, self._page_size)
        state.requests += 1
        report.pages += 1
        report.received += len(page.rows)
        self._look_at_clock()
        rows, ids = self._without_copies(page.rows, state)
        keys = self._sort_keys(rows)
        piece = _Slice(offset, page, rows, ids, self._without_future(keys), asked.known)
        if page.total is not None:
            state.moved = state.moved or (report.totals is not None and report.totals[2] != page.total)
            report.note_total(page.total)
            self._first_total = page.total if self._first_total is None else self._first_total
            # More rows than the total: it counts something other than the list.
            self._total_doubtful = self._total_doubtful or (len(page.rows) > 0 and page.total <= offset)
        if self._order is not Order.UNKNOWN:
            obeyed = _is_sorted(keys)
            report.order_obeyed = obeyed and report.order_obeyed is not False
            report.order_shown = report.order_obeyed and (report.order_shown or self._shows_order(piece))
            state.unproven = state.unproven or not obeyed
        return piece

    def _without_copies(self, rows: Sequence[Row], state: _Pass) -> tuple[Sequence[Row], list[str | None]]:
        """Return a page without repeated rows (the newer copy is kept) and the ids: positions count each row once."""
        ids = list(map(self._keys.id, rows))
        if len(set(ids)) == len(ids):
            return rows, ids
        copies: dict[str, int] = {}
        kept: list[Row] = []
        for row, row_id in zip(rows, ids, strict=True):
            if row_id is None or row_id not in copies:
                if row_id is not None:
                    copies[row_id] = len(kept)
                kept.append(row)
            elif not self._is_older(row, kept[copies[row_id]]):
                kept[copies[row_id]] = row
        if len(kept) < len(rows):
            self.report.repeats += len(rows) - len(kept)
            state.moved = True
        return kept, list(map(self._keys.id, kept))

    def _sort_keys(self, rows: Sequence[Row]) -> list[float | None]:
        if self._order is Order.UNKNOWN:
            return [None] * len(rows)
        read, sign = (self._keys.created, 1) if self._order is Order.CREATED else (self._keys.updated, -1)
        return [None if moment is None else sign * moment.timestamp() for moment in map(read, rows)]

    def _shows_order(self, piece: _Slice) -> bool:
        """Whether a sorted page differs from the default order of servers."""
        pairs = enumerate(pairwise(piece.keys))
        strict = (place for place, (a, b) in pairs if a is not None and b is not None and a < b)
        if self._order is Order.CREATED:
            return next(strict, None) is not None
        for place in strict:
            first, second = self._keys.created(piece.rows[place]), self._keys.created(piece.rows[place + 1])
            if first is not None and second is not None and first < second:
                return True
        return False

    def _look_at_clock(self) -> None:
        # The latest time seen: responses may arrive out of order, or come from a cache with an old date.
        if (now := self._now()) is not None:
            self._latest = max(self._latest, now.timestamp())
            self._began_at = self._latest if self._began_at is None else self._began_at

    def _is_future(self, stamp: float) -> bool:
        return self._latest != -inf and stamp > self._latest + CLOCK_TOLERANCE_SECONDS  # guard: times-beyond-the-clock

    def _without_future(self, keys: list[float | None]) -> list[float | None]:
        """Return the sort keys, None for those in the future."""
        sign = 1 if self._order is Order.CREATED else -1
        return [None if key is None or self._is_future(sign * key) else key for key in keys]

    def _learn_page_size(self, piece: _Slice) -> None:
        """Derive the size of a full page from the rows received, not from the limit requested."""
        received, echoed = len(piece.ids), piece.page.limit
        size = min(self._page_size, echoed) if echoed else self._page_size
        self._size = received if received and (received > size or not self._says_end(piece)) else size
        self.report.page_size = self._size

    @property
    def _overlap(self) -> int:
        """Number of rows shared by neighbouring pages; one is not enough, because another may have the same time."""
        return min(self._size - 1, max(2, self._size // 10)) if self._size > 1 else 0

    def _look_ahead(self, ahead: deque[_Asked], last: _Slice, stop_at: float | None) -> None:
        """Request the next page, and as many after it as will probably be needed."""
        step = max(1, self._size - self._overlap)
        start = ahead[-1].offset + step if ahead else max(last.end - self._overlap, last.offset + 1)
        total = last.page.total if not self._total_doubtful else None
        wanted = 1
        # If pages differ in length, where the next ones begin is unknown.
        if self._executor is not None and stop_at is None and not self._is_uneven:
            if total is not None:
                wanted = self._ahead
            elif last.page.has_more:
                # The end is unknown: look ahead further the longer the list has proved to be, but half as far as with a
                # known
                # end, because pages beyond the end are wasted.
                wanted = min(max(1, self._ahead // 2), max(1, self.report.pages // 2))
        while len(ahead) < wanted and (not ahead or total is None or start + self._overlap < total):
            future = self._executor.submit(self._fetch, start, self._page_size) if self._executor else None
            ahead.append(_Asked(start, future, len(self._given)))
            start += step

    @staticmethod
    def _forget(ahead: deque[_Asked]) -> None:
        for asked in ahead:
            if asked.future is not None:
                asked.future.cancel()
        ahead.clear()

    def _goes_in_circles(self, last: _Slice, state: _Pass) -> bool:
        """Stop a read that cannot end; return True if all rows were received nevertheless.

        Raises:
            DriftError: Pages repeat, or there are several times more than the list can have.
        """
        counted = self.report.totals[1] if self.report.totals else 0
        if last.offset > 0 and len(last.ids) > 1 and last.ids == self._first_ids:
            # Once may be a coincidence: as many rows inserted at the head as the offset advanced.
            state.repeated_head += 1
            if state.repeated_head > 1 and 0 < counted <= len(state.ids):
                return True
            if state.repeated_head > 1:
                if self._read(0, state).ids == last.ids:
                    of_total = f" of {counted}" if counted else ""
                    raise DriftError(
                        f"offset {last.offset} returned the first page again: offset is ignored, so only "
                        f"{len(state.ids)}{of_total} rows can be reached on this route"
                    )
                state.repeated_head = 0
        else:
            state.repeated_head = 0
        step = max(1, self._size - self._overlap)
        if state.requests > 4 * (max(counted, len(state.ids)) // step + 1) + 50:
            raise DriftError(
                f"stopped after {state.requests} pages for {len(state.ids)} rows: the list changes faster than it can "
                "be read, or its pages repeat"
            )
        return False

    def _is_outrun(self, last: _Slice, state: _Pass) -> bool:
        """Whether the list grows about as fast as it is read, so that its end is hardly getting nearer.

        Checked after several times the pages that the first total promised, and occasionally after that.
        """
        step = max(1, self._size - self._overlap)
        if state.look is None:
            promised = (self._first_total or 0) // step + 1
            if state.requests >= PATIENCE * promised + PATIENCE_PAGES:  # guard: a-list-that-outruns-its-reader
                state.look = _Look(state.requests, self._count_left(last))
            return False
        self._note_ages(last, state.look)
        if state.requests < state.look.requests + PATIENCE_PAGES:
            return False
        before, left = state.look, self._count_left(last)
        state.look = _Look(state.requests, left)
        if left is not None and before.left is not None:
            # While seams are repaired, half of the requests make no progress.
            return 4 * (before.left - left) < (state.requests - before.requests) * step
        if before.dated:
            return 2 * before.young > before.dated
        return state.requests > UNCOUNTED_PAGES

    def _count_left(self, last: _Slice) -> int | None:
        total = last.page.total
        return None if total is None or self._total_doubtful else max(0, total - last.end)

    def _note_ages(self, piece: _Slice, look: _Look) -> None:
        if self._began_at is None:
            return
        made = [moment.timestamp() for moment in map(self._keys.created, piece.rows) if moment is not None]
        look.dated += len(made)
        look.young += sum(stamp > self._began_at for stamp in made)

    # -- seams ---------------------------------------------------------------------------------------------------

    def _join(self, piece: _Slice, last: _Slice, state: _Pass) -> _Slice:
        """Return the page or, if it does not meet the known rows, an earlier one that does."""
        back = 0
        while not self._meets(piece, last, state):
            if piece.offset == 0 or state.vain_repairs >= (1 if self._torn else VAIN_REPAIRS):
                self._torn = True
                return piece
            if not piece.ids:
                state.empty_at = piece.offset
            start = self._start_of_ties(piece, last) if back == 0 else 0
            if start is None:
                # No page holds all rows that share this time: their order proves nothing.
                state.tied = True
                return piece
            back = max(1, 2 * back) if back else max(1, self._size - self._overlap)
            if not start:
                self.report.seams_repaired += 1
                state.moved = True
            piece = self._read(start or max(0, piece.offset - back), state)
        return piece

    def _meets(self, piece: _Slice, last: _Slice, state: _Pass) -> bool:
        """Whether no row can lie between the known rows and this page."""
        if piece.offset == 0:
            return self._is_head(piece, state)
        overlap = last.end - piece.offset
        only = last.offset == 0 and len(last.ids) == 1 and not piece.ids
        if not only and (overlap <= 0 or piece.ids[:overlap] != last.ids[-overlap:]):
            state.moved = True
        if self._overlap == 0:
            # Pages of one row cannot overlap.
            state.unproven = True
            return True
        if not piece.ids:
            # The overlap is missing: the list became shorter and its rows moved up past this offset.
            return False
        if self._order is Order.UNKNOWN or not self.report.order_obeyed:
            return piece.ids[0] in state.ids
        if piece.keys[0] is None:
            # Rows without a time are together at one end, in an order that proves nothing.
            state.tied = True
            return piece.ids[0] in state.ids
        if last.first_key is not None and piece.keys[-1] is not None and piece.keys[-1] < last.first_key:
            # A page entirely before the previous one: perhaps the list is sorted in reverse.
            state.unproven = True
        return piece.keys[0] < state.covered_to

    def _is_head(self, piece: _Slice, state: _Pass) -> bool:
        """Whether a page from offset 0 can be the head of the list already read.

        Nothing precedes it, so it need not meet the known rows; but rows that it no longer has were deleted, and the
        count must confirm that.
        """
        if self._order is Order.UNKNOWN or not self.report.order_obeyed:
            # Without an order pages prove nothing anyway; two passes must agree.
            return True
        if piece.first_key is not None and piece.first_key <= state.covered_to:
            return True
        if piece.ids and piece.first_key is None:
            state.tied = True
            return True
        gone = len(state.ids) - sum(row_id in state.ids for row_id in piece.ids)
        return gone <= self._count_deleted(piece)

    def _count_deleted(self, piece: _Slice) -> int:
        """Return by how many rows the count has fallen below its maximum."""
        if self.report.totals is None or piece.page.total is None or self._total_doubtful:
            return 0
        return max(0, self.report.totals[1] - piece.page.total)

    def _start_of_ties(self, piece: _Slice, last: _Slice) -> int | None:
        """Return the start of the rows that share the time at the seam; 0 if none do, None if they fill a page."""
        tie = piece.keys[0] if piece.keys else None
        if tie is None or last.last_key != tie or not self.report.order_obeyed:
            return 0
        first_of_tie = next(i for i, key in enumerate(last.keys) if key == tie)
        start = last.offset + first_of_tie - 1
        if start >= piece.offset:
            return 0
        return start if first_of_tie > 1 else None

    # -- a list of one page ------------------------------------------------------------------------------------------

    def _look_again(self, state: _Pass) -> None:
        """Read the first page again if the second was empty and nothing else proves that the first was the list.

        If it is unchanged, all its rows existed when the second page was requested, and that page showed the end of the
        list, so there were no others.
        """
        if state.requests == 2 and self._holds_all(state) and not (self._first_is_all or self._is_proven(state)):
            again = self._read(0, state)
            self._first_is_all = again.ids == self._first_ids and not state.moved

    def _holds_all(self, state: _Pass) -> bool:
        """Whether only the first page had rows, and nothing moved."""
        brought = len(state.ids) + len(state.without_id)
        return self._resume is None and not state.moved and brought == len(self._first_ids)

    def _came_at_once(self, state: _Pass) -> bool:
        """Whether the first page is known to be the full list."""
        if self._resume is not None:
            return False
        return self.report.pages == 1 or (self._first_is_all and self._holds_all(state))

    # -- the head ------------------------------------------------------------------------------------------------

    def _reread_head(self, state: _Pass) -> Iterator[list[Row]]:
        """Read from offset 0 until a single page reaches back to the start of the previous walk.

        That page holds everything newer. It need not reach beyond that time: edits since are later, and more rows than
        a page holds may share it.
        """
        began = state.first_key
        for _ in range(HEAD_ROUNDS):
            if began is None or not self.report.order_obeyed:
                break
            probe, before, known = _Pass(), len(state.ids), len(self._given)
            probe.is_head = True
            yield from self._walk(probe, began, inclusive=True)
            state.add(probe.ids)
            if self._outrun:
                return
            # The rows of an earlier run are unknown to this one.
            newer = len(state.ids) > before if self._resume is None else (probe.first_key or began) < began
            state.moved = state.moved or probe.moved or newer
            if probe.requests - probe.keyless == 1:
                self._torn = self._torn or self._lacks_newer_rows(probe, state, known)
                return
            state.unproven = state.unproven or probe.unproven
            state.tied = state.tied or probe.tied
            state.moved = True
            began = probe.first_key
        state.unproven = True

    def _lacks_newer_rows(self, probe: _Pass, state: _Pass, known: int) -> bool:
        """Whether the page of a probe lacks rows that are newer than its last row and were not deleted."""
        if self.report.totals is None or self._total_doubtful or state.first_key is None:
            return False
        there = [place for place in self._given.places(probe.ids) if place is not None]
        newer = [stamp > -probe.covered_to for stamp in self._stamps[:known]]
        lacking = sum(newer) - sum(newer[place] for place in there if place < known)
        # Rows new at the head since the walk began may have been created, and as many others deleted.
        came = sum(self._stamps[place] > -state.first_key for place in there)
        _, high, last = self.report.totals
        return lacking > high - last + came

    # -- rows ----------------------------------------------------------------------------------------------------

    def _accept(self, piece: _Slice, state: _Pass, last: _Slice, *, late: bool = False) -> tuple[list[Row], bool]:
        """Add a page's rows; return those with new ids, and whether the list ends here.

        A page fetched before its predecessor is ``late``: its copies count as new only with a later time.
        """
        if not self._first_ids:
            self._first_ids, self._first_is_all = piece.ids, piece.offset == 0 and self._claims_end(piece)
        copies: dict[str, Row] = {}
        for position, (row, row_id) in enumerate(zip(piece.rows, piece.ids, strict=True)):
            if row_id is None:
                state.without_id.add(piece.offset + position)
            else:
                copies[row_id] = row
        places = self._given.places(copies)
        unseen = places.count(None) if state.ids is self._given else len(copies.keys() - state.ids)
        self._given.add(copies)
        fresh, held = self._sort_out(copies, places, piece.known, late=late)
        overlap = max(0, last.end - piece.offset) if last is not piece else 0
        repeats = len(piece.ids) - unseen - piece.ids.count(None)
        if repeats > overlap:
            self.report.repeats += repeats - overlap
            state.moved = True
        state.add(copies)
        if unseen and piece.offset > 0 and self._first_is_all and not state.is_head:
            # The server limits its pages and counts only the rows of one.
            self._is_contradicted, self._size = True, min(self._size, len(self._first_ids))
        self._held = {} if late else held
        if piece.last_key is not None:
            state.covered_to = max(state.covered_to, piece.last_key)
        if not state.is_head:
            self._note_place(piece, state)
        return fresh, self._ends(piece, state, unseen)

    def _note_place(self, piece: _Slice, state: _Pass) -> None:
        provable = not state.unproven and state.covered_to > float("-inf")
        head = state.first_key if self._order is Order.UPDATED else None
        placed = provable and (head is not None or self._order is Order.CREATED)
        self._position = Position(piece.end, state.covered_to, state.tied, head) if placed else None

    def _sort_out(
        self, copies: Mapping[str, Row], places: Sequence[int | None], known_before: int, *, late: bool
    ) -> tuple[list[Row], dict[str, Row]]:
        """Return the new rows, and those to compare the next page with.

        Args:
            copies: Id to row.
            places: Per row its position among the rows yielded; None if not yielded.
            known_before: Number of rows yielded when the page was requested.
            late: Whether the page was fetched before its predecessor.
        """
        fresh: list[Row] = []
        held: dict[str, Row] = {}
        for (row_id, row), place in zip(copies.items(), places, strict=True):
            stamp = self._stamp(row)
            if place is None:
                fresh.append(row)
                self._stamps.append(nan if stamp is None else stamp)
            else:
                known = None if isnan(self._stamps[place]) else self._stamps[place]
                if self._is_news(row_id, row, stamp, known, late=late):
                    self._revised[row_id] = row
                    self._stamps[place] = nan if stamp is None else stamp
                elif stamp != known:
                    if stamp is not None and known is not None and place < known_before:
                        # A newer version was received before this page was requested.
                        self._torn = self._torn or row_id not in self._revised
                    # Outdated copies are not used to compare the next page.
                    continue
            held[row_id] = row
        return fresh, held

    def _stamp(self, row: Row) -> float | None:
        moment = self._keys.updated(row)
        stamp = None if moment is None else moment.timestamp()
        return None if stamp is None or self._is_future(stamp) else stamp

    def _is_older(self, row: Row, other: Row) -> bool:
        mine, theirs = self._stamp(row), self._stamp(other)
        return mine is not None and theirs is not None and mine < theirs

    def _is_news(self, row_id: str, row: Row, stamp: float | None, known: float | None, *, late: bool) -> bool:
        """Whether this copy of a known row is a newer version; without times, the last one received counts."""
        if stamp is not None and known is not None and stamp != known:
            return stamp > known
        if late:
            return False
        held = self._revised.get(row_id) or self._held.get(row_id)
        return (stamp != known) if held is None else held != row

    # -- the end -------------------------------------------------------------------------------------------------

    def _ends(self, piece: _Slice, state: _Pass, unseen: int) -> bool:
        if not piece.ids:
            return True
        promised = self._promises_more(piece)  # guard: short-page-that-promises-more
        short = len(piece.ids) < self._size
        if short and promised:
            self._size, self._is_uneven = len(piece.ids), True
        if short and state.empty_at is not None and piece.end <= state.empty_at:
            return piece.end == state.empty_at or not promised
        if short and unseen == 0 and piece.offset > 0 and not promised:
            return True
        if self._must_be_confirmed(piece):  # guard: one-page-that-claims-to-be-all
            return False
        return self._says_end(piece)

    def _promises_more(self, piece: _Slice) -> bool:
        """Whether the page says that rows follow: some servers limit a page by its bytes, so that it may be short."""
        total = None if self._total_doubtful else piece.page.total
        if total is not None and piece.end >= total:
            return False
        return piece.page.has_more is True or (piece.page.has_more is None and total is not None)

    def _says_end(self, piece: _Slice) -> bool:
        """Whether the page says that nothing follows, and is not full.

        A cached total may be too small, and has_more may be derived from it: after a full page, only one more request
        decides. It returns the overlap with this page, or the rest of the list.
        """
        full = min(self._size, piece.page.limit or self._size)
        return len(piece.ids) < full and self._claims_end(piece)  # guard: full-page

    def _must_be_confirmed(self, piece: _Slice) -> bool:
        """Whether only one more request can tell that the first page is the full list, as it claims."""
        if self._stored is None or piece.offset > 0 or self.report.pages > 1:
            return False
        return needs_confirmation(len(piece.ids), self._stored)

    def _claims_end(self, piece: _Slice) -> bool:
        """Whether the page consistently says that nothing follows."""
        received, total, has_more = len(piece.ids), piece.page.total, piece.page.has_more
        if received == 0 or self._is_contradicted:
            return received == 0
        if total is None or self._total_doubtful:
            return has_more is False
        if piece.end < total or has_more:
            return False
        # A total equal to one full page may count only that page, and a total that the page exceeds counts something
        # else: has_more decides, or one more request. The same applies if the size of a full page is unknown.
        return has_more is False or (piece.end == total and received < (piece.page.limit or 0))  # guard: total

    # -- the verdict ---------------------------------------------------------------------------------------------

    def _wants_second_pass(self, state: _Pass) -> bool:
        if self._came_at_once(state) or self._resume is not None or self._torn or self._outrun:
            return False
        return not self._is_proven(state) or (not self.report.stopped_early and self._missing(state) > 0)

    def _is_proven(self, state: _Pass) -> bool:
        obeyed = self._order is not Order.UNKNOWN and self.report.order_obeyed is True
        return obeyed and not (state.unproven or state.tied)

    def _missing(self, state: _Pass) -> int:
        if self.report.totals is None or self._total_doubtful:
            return 0
        return max(0, self.report.totals[2] - len(state.ids) - len(state.without_id))

    def _judge(self, state: _Pass, previous: _Pass | None) -> None:
        report = self.report
        moved = state.moved or (previous is not None and previous.moved)
        report.rows_without_id = len(state.without_id)
        if self._torn:
            report.miss(PAGES_DIFFER, gap=True)
        if self._outrun:
            report.miss(f"the list grows as fast as it is read; stopped after {report.pages} pages", gap=True)
        if self._resume is not None:
            # Rows of earlier runs are not in this count; the caller compares the totals.
            report.total_doubtful = self._total_doubtful
        elif not report.stopped_early:
            self._judge_total(state)
        if not self._came_at_once(state) and not self._is_proven(state):
            agree = previous is not None and previous.ids == state.ids and not moved
            if not agree:
                doubt = "was read in more than one run" if self._resume is not None else "changed while it was read"
                report.miss(f"{self._why_unproven()}, and the list {doubt}", gap=moved)
        if report.rows_without_id:
            count, first = report.rows_without_id, min(state.without_id)
            report.miss(f"rows without an id: {count}, the first at offset {first}; they were skipped")
        report.moved, report.finished = moved, True

    def _why_unproven(self) -> str:
        if self._order is Order.UNKNOWN:
            return "the order of the list is unknown"
        if not self.report.order_obeyed:
            return f"rows are not sorted by {self._order.value} as requested"
        return "many rows share one time or have none"

    def _judge_total(self, state: _Pass) -> None:
        report = self.report
        if report.totals is None:
            report.miss("OrgX reports no total to compare with")
            return
        _, high, last = report.totals
        report.short_by = self._missing(state)
        if report.short_by:
            report.miss(f"OrgX counts {last} rows, {len(state.ids)} were received", gap=True)
        elif self._total_doubtful or (not state.moved and len(state.ids) > high):
            report.total_doubtful = True
            report.miss(f"OrgX counts {high} rows, but {len(state.ids)} were received: its total is unreliable")
