"""Reads one table from one route, with one class per kind of paging; returns rows and a verdict.

It neither chooses routes nor keeps state. The first request of a read is a method of its own, used by `check` and
`plan` too.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page, Row
from orgx_source.api.limits import Spending
from orgx_source.api.listing import ListingReport, Order, Position, RowKeys
from orgx_source.api.paging import Listing, needs_confirmation
from orgx_source.api.query import PageQuery, Parent
from orgx_source.api.route_choice import CLOSED_STATUSES
from orgx_source.api.routes import Paging, Route
from orgx_source.api.slices import Slices
from orgx_source.api.unfold import without_secrets
from orgx_source.errors import ApiError, AuthError, BudgetError, DriftError, RateLimitError, ServerError
from orgx_source.tables import Table, is_id, spellings
from orgx_source.times import parse_timestamp, utc_now

logger = logging.getLogger(__name__)

# No maximum is published; 100 is the largest value in OrgX's own schema.
ROWS_ASKED = 100
EVENTS_ASKED = 1000
IDS_AT_ONCE = 100
MAX_CURSOR_PAGES = 100_000
# Consecutive pages without a new row, each with a new cursor.
MAX_IDLE_PAGES = 100
# Maximum number of events to request at once.
MAX_EVENTS = 100_000
# Smallest plausible page limit of a server: responses of equal length below it are a coincidence.
SMALLEST_PAGE = 10
# After this many refused entities, and none served, the route counts as closed.
REFUSED_ENTITIES = 10
# Query parts that can be dropped if refused; the list is then read in full, in OrgX's own order and page size.
OPTIONS: dict[str, Any] = {"order": Order.UNKNOWN, "since": None, "limit": None}
# 401, 403, 404 and 410 concern the path; these may concern the query.
QUESTION_STATUSES = frozenset({400, 422})


def row_keys(table: Table) -> RowKeys:
    """Return how to read id and times from this table's rows, including all aliases."""
    id_keys = table.columns[0].keys

    def text(row: Row) -> str | None:
        for key in id_keys:
            value = row.get(key)
            if is_id(value):
                return str(value)
        return None

    def moment(*keys: str) -> Callable[[Row], datetime | None]:
        def read(row: Row) -> datetime | None:
            for key in keys:
                if (value := row.get(key)) is not None and (found := parse_timestamp(value)) is not None:
                    return found
            return None

        return read

    return RowKeys(id=text, created=moment(*spellings(table.created)), updated=moment(*spellings(table.updated)))


@dataclass(frozen=True)
class Access:
    """The resources shared by the readers of one run.

    Attributes:
        client: Sends the requests.
        executor: Runs them in parallel.
        workspace: From bootstrap: the workspace that the key resolves to.
        parents: Yields all entities that an artifact can be attached to.
        workspaces: Returns the ids of the visible workspaces, and whether these are all; for lists of one workspace.
    """

    client: OrgxClient
    executor: Executor
    workspace: Row = field(default_factory=dict)
    parents: Callable[[], Iterable[Parent]] = tuple
    workspaces: Callable[[], tuple[Collection[str], bool]] = lambda: ((), True)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected size and cost of a read, according to its first page.

    Attributes:
        rows: Rows to read; None if unknown before the read.
        requests: Approximate number of requests; None if unknown.
        at_least: Whether both are lower bounds.
        then_whole: Whether OrgX lists fewer rows than are known, so that a full read follows the changes.
    """

    rows: int | None
    requests: int | None
    at_least: bool = False
    then_whole: bool = False


class RouteReader(ABC):
    """Reads one table from one route; created by `open_route`.

    Iterate over `rows` to receive lists of rows, each id once; ``report`` is complete when the iteration is.

    Attributes:
        route: The route.
        report: The observations and the verdict.
        spending: The cost.
        refused: Query parts that OrgX refused on this route, although the list itself is open.
        last_refusal: The last of these errors.
        has_places: Whether the list can be read from any position.
        stored: Rows of the table in the warehouse that are not deleted; None if they are not to be compared.
    """

    has_places = False
    stored: int | None = None

    def __init__(self, access: Access, table: Table, route: Route, spending: Spending | None = None) -> None:
        """Prepare to read, without requests.

        Args:
            access: The shared resources.
            table: The table.
            route: The route.
            spending: Records the cost.
        """
        self.route = route
        self.report = ListingReport()
        self.spending = spending or Spending()
        self.refused: list[str] = []
        self.last_refusal: ApiError | None = None
        self._left_out: frozenset[str] = frozenset()
        self._living: str | None = None
        self._is_resumed = False
        self._access = access
        self._table = table
        self._keys = row_keys(table)

    @property
    def position(self) -> Position | None:
        """Position from which a later read can continue; None if this route or its order does not allow it."""
        return None

    def rows(self, watermark: datetime | None = None, resume: Position | None = None) -> Iterator[list[Row]]:
        """Read the table or, with a watermark and a suitable route, the changes since.

        Args:
            watermark: Time up to which changes are known.
            resume: Position up to which an earlier run has read; for routes that sort.

        Raises:
            OrgxError: From the client, or the list cannot be read to its end.
        """
        self._is_resumed = resume is not None
        try:
            yield from self._read_with_what_is_accepted(watermark, resume)
        except BudgetError as error:
            raise self._told(error, watermark, resumed=resume is not None) from None
        if self.route.caveat:
            self.report.miss(self.route.caveat)

    def _read_with_what_is_accepted(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        try:
            yield from self._watched(self._read(watermark, resume))
        except ApiError as refusal:
            if self.report.pages or not self._leave_out(refusal, watermark):
                raise
            yield from self._watched(self._read(watermark, resume))
        self.report.finished = True

    def _watched(self, batches: Iterable[list[Row]]) -> Iterator[list[Row]]:
        """Remember the id of one existing row."""
        for rows in batches:
            self._living = next((row_id for row in rows if (row_id := self._keys.id(row)) is not None), self._living)
            yield rows

    @abstractmethod
    def first(self, watermark: datetime | None) -> PageQuery | None:
        """Return the first query of `rows`; None if bootstrap already has the answer."""

    @abstractmethod
    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        """Yield lists of rows, each id once, and complete the report."""

    def first_page(self, watermark: datetime | None = None) -> Page | None:
        """Fetch the first page of `rows`; None if bootstrap already has the answer.

        Raises:
            OrgxError: From the client.
        """
        query = self.first(watermark)
        if query is None:
            return None
        try:
            return self._fetch(query)
        except ApiError as refusal:
            if not self._leave_out(refusal, watermark):
                raise
            return self._fetch(query)

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return the expected size and cost of a read.

        Args:
            page: Its first page.
            watermark: As for `rows`.
            offset: Rows already read by an earlier, interrupted read.
            known: Number of rows in the warehouse that are not deleted.
        """
        return Estimate(len(page.rows), 1, at_least=page.is_all(None) is False)

    def find_ids(self, ids: Sequence[str]) -> set[str] | None:
        """Request exactly these ids; return those that still exist, or None if that cannot be determined.

        If the route takes no ids, refuses them or returns other rows, the list is read a second time.

        Raises:
            OrgxError: From the client.
        """
        if self.route.takes_ids:
            try:
                found = self._ask_for_ids(ids)
            except ApiError as refusal:  # guard: refused-ids-close-no-route
                if not _is_refusal(refusal):
                    raise
                self._note_refusal("ids", refusal)
                found = None
            if found is not None:
                return found
        if self.route.caveat or self._is_resumed:
            return None
        again = type(self)(self._access, self._table, self.route, self.spending)
        again._left_out = self._left_out
        batches = again._read_with_what_is_accepted(None, None)
        try:
            found = {row_id for rows in batches for row in rows if (row_id := self._keys.id(row)) is not None}
        except BudgetError:
            # A list that takes more than half of a run's requests would never be read to its end.
            return None
        return None if again.report.verdict == "uncertified" else found & set(ids)

    def find_rows(self, ids: Sequence[str]) -> list[Row]:
        """Request the rows with these ids; return those received, or none if the route does not support single rows.

        Raises:
            OrgxError: From the client.
        """
        if not self.route.takes_ids:
            return []
        found: list[Row] = []
        for start in range(0, len(ids), IDS_AT_ONCE):
            due = tuple(ids[start : start + IDS_AT_ONCE])
            try:
                page = self._fetch(PageQuery(ids=due, limit=len(due)))
            except ApiError as refusal:
                if not _is_refusal(refusal):
                    raise
                self._note_refusal("ids", refusal)
                return []
            found += [row for row in page.rows if self._keys.id(row) in due]
        return found

    def sample(self, total: int, share: float) -> list[Row] | None:
        """Return one page of rows from a given position in the list; None if the route does not support that.

        Args:
            total: Number of rows in the list.
            share: Start of the page: 0 at the oldest row, 1 at the newest.

        Raises:
            OrgxError: From the client.
        """
        return None

    def _ask_for_ids(self, ids: Sequence[str]) -> set[str] | None:
        """Return the ids that exist; None if the responses do not match the query."""
        # In a truncated page, rows would look deleted: never request more than a page holds.
        size = min(IDS_AT_ONCE, self.report.page_size or IDS_AT_ONCE)
        # A row just read is requested too: a response without it proves nothing about the others.
        witness = {self._living} if self._living is not None and size > 1 else set()
        found: set[str] = set()
        step = size - len(witness)
        for start in range(0, len(ids), step):
            due = set(ids[start : start + step])
            while due:
                answered = self._answered(due | witness)
                if answered - due - witness or not answered >= witness:  # guard: filter-that-is-not-honoured
                    return None
                found |= answered & due
                if not answered & due:
                    break
                # The response may be truncated: request the missing ones again until none of them is returned.
                due -= answered
        return found

    def _answered(self, ids: set[str]) -> set[str]:
        query = PageQuery(ids=tuple(sorted(ids)), limit=len(ids))
        try:
            page = self._fetch(query if "fields" in self._left_out else replace(query, fields=("id",)))
        except ApiError as refusal:
            if "fields" in self._left_out or refusal.status not in QUESTION_STATUSES:
                raise
            # Perhaps only the field selection is refused.
            page = self._fetch(query)
            self._left_out |= {"fields"}
            self._note_refusal("fields", refusal)
        return {row_id for row in page.rows if (row_id := self._keys.id(row)) is not None}

    # -- what is refused ---------------------------------------------------------------------------------------------

    def _leave_out(self, refusal: ApiError, watermark: datetime | None) -> bool:
        """Find out which part of the first query is refused, and omit it from now on.

        Returns whether the list can be read without it.
        """
        query = self.first(watermark)
        if query is None or self._left_out or refusal.status not in QUESTION_STATUSES:
            return False
        options = [name for name, plain in OPTIONS.items() if getattr(query, name) != plain]
        if not options or not self._is_answered(query, options):
            return False
        names = next(([name] for name in options if options[1:] and self._is_answered(query, [name])), options)
        self._left_out = frozenset(names)
        for name in names:
            self._note_refusal(name, refusal)
        return True

    def _is_answered(self, query: PageQuery, without: Iterable[str]) -> bool:
        try:
            self._fetch(replace(query, **{name: OPTIONS[name] for name in without}))
        except ApiError as error:
            if error.status not in CLOSED_STATUSES:
                raise
            return False
        return True

    def _note_refusal(self, name: str, refusal: ApiError) -> None:
        logger.warning("%s: %s is refused on %s: %s", self._table.name, name, self.route.name, refusal)
        self.refused.append(f"{name} ({refusal.status})")
        self.last_refusal = refusal

    def _told(self, error: BudgetError, watermark: datetime | None, *, resumed: bool) -> BudgetError:
        """Return the error of a read stopped by a limit, with what the next run will do."""
        error.can_go_on = self.position is not None or (resumed and not self.report.pages)
        if error.can_go_on:
            prospect = "the next run continues from there"
        elif not self.report.pages:
            prospect = "nothing was read there"
        else:
            error.needs = self._least_requests(watermark)
            what = "the list" if watermark is None else "a list of changes"
            prospect = (
                f"the next run starts over: {what} cannot be read in parts on this route, "
                f"and one read takes at least {error.needs} requests"
            )
        return error.add(prospect)

    def _least_requests(self, watermark: datetime | None) -> int:
        """Return the minimum number of requests for one read, as far as known when it stopped."""
        report = self.report
        size = report.received // report.pages if report.pages else 0
        total = report.totals[2] if report.totals and watermark is None else 0
        return max(report.pages + 1, math.ceil(total / size) if size else 0)

    @property
    def _workspace_id(self) -> str | None:
        own = self._access.workspace.get("id")
        return self._access.client.config.workspace_id or (str(own) if own else None)

    def _fetch(self, query: PageQuery) -> Page:
        client = self._access.client
        query = self._accepted(query)
        if self.route.needs_workspace or client.config.workspace_id:
            query = replace(query, workspace_id=self._workspace_id)
        page = client.fetch_page(self.route, query, self.spending)
        if self._table.optional:  # guard: secrets-of-runs
            page = replace(page, rows=[without_secrets(row) for row in page.rows])
        return page

    def _accepted(self, query: PageQuery) -> PageQuery:
        """Return a query without the refused parts."""
        left_out = {name: plain for name, plain in OPTIONS.items() if name in self._left_out}
        return replace(query, **left_out) if left_out else query


def _is_refusal(error: ApiError) -> bool:
    """Whether OrgX refused the query or returned an unknown format; not the key, the rate limit or a failure."""
    return not isinstance(error, AuthError | RateLimitError | ServerError)


class OffsetReader(RouteReader):
    """Limit and offset: checks seams between pages, resumes, and stops at a watermark if the route sorts."""

    has_places = True
    _listing: Listing | None = None

    @property
    def position(self) -> Position | None:
        """Position from which a later read can continue; None if this route or its order does not allow it."""
        return self._listing.position if self._listing is not None else None

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return the first query of `rows`."""
        return PageQuery(order=self._order(watermark), limit=self._page_size, offset=0)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        first = self.first(watermark)
        listing = Listing(
            lambda offset, limit: self._fetch(replace(first, limit=limit, offset=offset)),
            self._keys,
            order=first.order,
            watermark=watermark,
            resume=resume,
            stored=self.stored,
            page_size=self._page_size,
            executor=self._access.executor,
            # Twice: no worker should be idle while received pages wait (5 % of a first sync at 50 ms). If the list
            # has
            # moved, pages not yet being fetched cost nothing.
            ahead=2 * self._access.client.config.workers,
            now=lambda: self._access.client.server_time,
        )
        self.report = listing.report
        self._listing = listing if first.order is Order.CREATED else None
        yield from listing

    @property
    def _page_size(self) -> int:
        return self._access.client.config.page_size

    def _order(self, watermark: datetime | None) -> Order:
        if not self.route.sorts or "order" in self._left_out:
            return Order.UNKNOWN
        return Order.CREATED if watermark is None else Order.UPDATED

    def _least_requests(self, watermark: datetime | None) -> int:
        report = self.report
        if watermark is not None or report.totals is None:
            return report.pages + 1
        passes = 1 if report.order_obeyed else 2
        return max(report.pages + 1, passes * _count_pages(report.totals[2], report.page_size or self._page_size))

    def sample(self, total: int, share: float) -> list[Row] | None:
        """Return one page of rows, sorted by creation time if the route sorts."""
        offset = int(share * max(0, total - self._page_size))
        return list(self._fetch(replace(self._accepted(self.first(None)), offset=offset)).rows)

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return the expected size and cost of a read: all pages, or those with changes."""
        size = page.limit or len(page.rows) or self._page_size
        if watermark is None:
            remaining = len(page.rows) if page.total is None else max(0, page.total - offset)
            requests = _count_pages(remaining, size)
            if requests == 1 and not offset and needs_confirmation(len(page.rows), known):
                requests += 1
            return Estimate(remaining, requests, at_least=page.total is None)
        stamps = [self._keys.updated(row) or self._keys.created(row) for row in page.rows]
        changed = sum(stamp is None or stamp >= watermark for stamp in stamps)
        if changed == len(page.rows) and (page.has_more or (page.total or 0) > changed):
            # More than a page has changed; how much more is unknown before the read.
            return Estimate(len(page.rows), 2, at_least=True)
        if page.total is not None and page.total < known:
            return Estimate(page.total, 1 + _count_pages(page.total, size), then_whole=True)
        return Estimate(len(page.rows), 1)


def _count_pages(rows: int, size: int) -> int:
    """Return the number of pages for this many rows, with an overlap of a tenth."""
    overlap = max(1, size // 10)
    return 1 + max(0, math.ceil((rows - size) / max(1, size - overlap)))


class WorkspacesReader(OffsetReader):
    """The list of workspaces, always read in full, with bootstrap's details added to the key's own workspace."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return the first query of `rows`."""
        return super().first(None)

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return the expected size and cost of a read: all pages."""
        return super().estimate(page, None, offset, known)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        own, listed = self._access.workspace, False
        for rows in super()._read(None, None):
            listed = listed or any(map(self._is_own, rows))
            yield [{**row, **own, "id": self._keys.id(row)} if self._is_own(row) else row for row in rows]
        if own and not listed:
            yield [dict(own)]
            if self.report.totals is not None:
                low, high, last = self.report.totals
                self.report.totals = (low + 1, high + 1, last + 1)

    def _is_own(self, row: Row) -> bool:
        """Return whether a row is the key's own workspace: both routes may spell its id in their own way."""
        ids = self._keys.id(row), self._keys.id(self._access.workspace)
        return None not in ids and len({str(row_id).casefold() for row_id in ids}) == 1  # guard: own-workspace


class BootstrapReader(RouteReader):
    """The one workspace that bootstrap returns."""

    def first(self, watermark: datetime | None) -> None:
        """Return None: bootstrap already has the answer."""
        return

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        self.report.pages = 1
        self.report.note_total(1)
        yield [dict(self._access.workspace)]


class _PlainReader(RouteReader):
    """Base of the other readers: pages without seams, and a report filled by the reader."""

    def __init__(self, access: Access, table: Table, route: Route, spending: Spending | None = None) -> None:
        super().__init__(access, table, route, spending)
        self._seen: set[str] = set()
        self._shared: set[str] = set()
        self._last = Page([])
        self._is_hollow = False

    def _unseen(self, page: Page) -> list[Row]:
        """Count a page and return its new rows; of two copies, the last."""
        report = self.report
        report.pages += 1
        report.received += len(page.rows)
        fresh: dict[str, Row] = {}
        for row in page.rows:
            row_id = self._keys.id(row)
            if row_id is None:
                report.rows_without_id += 1
            elif row_id not in self._seen:
                if fresh.get(row_id, row) != row:  # guard: ids-of-two-rows
                    self._shared.add(row_id)
                fresh[row_id] = row
        self._seen.update(fresh)
        return list(fresh.values())

    def _follow(self, query: PageQuery, page: Page, watch: _Watch | None = None) -> Iterator[list[Row]]:
        """Yield the rows of a response and of all following pages; ``_last`` is the last page.

        Args:
            query: The query.
            page: The response.
            watch: Called with each page.

        Raises:
            DriftError: The cursors do not reach an end.
        """
        asked: set[str] = set()
        idle = 0
        while True:
            if watch is not None:
                watch.look(page)
            fresh = self._unseen(page)
            yield fresh
            self._last, idle, cursor = page, 0 if fresh else idle + 1, page.next_cursor
            if cursor is None or (asked and not fresh and self._is_at_rest(page, query)):
                return
            if cursor in asked or len(asked) >= MAX_CURSOR_PAGES:
                raise DriftError(f"{self.route.path} returned the same cursor twice; its list does not end")
            if idle > MAX_IDLE_PAGES:
                raise DriftError(
                    f"{self.route.path} returned {idle} pages in a row without a new row; its list does not end"
                )
            asked.add(cursor)
            query = replace(query, cursor=cursor)
            page = self._fetch(query)

    def _without_hollow_claims(self, query: PageQuery, page: Page) -> Page:
        """Return a response without its total and end if they describe only the response, not the list.

        A shorter response shows it: it claims the same about fewer rows.
        """
        came = len(page.rows)
        if came < 2 or not page.is_all(query.limit):
            return page
        shorter = self._fetch_if_granted(replace(query, limit=came // 2))
        if shorter is None or len(shorter.rows) >= came:
            return page
        counts_itself = shorter.total == len(shorter.rows)
        self._is_hollow = counts_itself or (shorter.total is None and shorter.has_more is False)
        return self._without_hollow(page)

    def _without_hollow(self, page: Page) -> Page:
        return replace(page, total=None, has_more=None, limit=None) if self._is_hollow else page

    def _fetch_if_granted(self, query: PageQuery) -> Page | None:
        """Fetch a response that the server may refuse or fail to return."""
        try:
            return self._fetch(query)
        except ApiError as failure:
            if isinstance(failure, AuthError | RateLimitError):
                raise
            self._note_refusal(f"limit={query.limit}", failure)
            return None

    @staticmethod
    def _is_at_rest(page: Page, query: PageQuery) -> bool:
        """Whether a page without new rows is the last one although it names a cursor: one that points to the end."""
        return page.has_more is False or not (page.has_more or page.rows or page.next_cursor != query.cursor)

    @property
    def _came(self) -> int:
        return len(self._seen) + self.report.rows_without_id

    def _compare_with_total(self, total: int | None) -> None:
        """Compare the rows received with OrgX's total."""
        report = self.report
        if total is None:
            report.miss("the route reports no total to compare with")
            return
        report.note_total(total)
        if total > self._came:
            report.short_by = total - self._came
            report.miss(f"OrgX counts {total} rows, {len(self._seen)} were received", gap=True)
        elif total < self._came:
            report.total_doubtful = True
            report.miss(f"OrgX counts {total} rows, but {len(self._seen)} were received: its total is unreliable")

    def _miss_promised(self) -> None:
        """Record that OrgX says that more rows follow but gives no way to request them."""
        self.report.short_by = max(1, self.report.short_by)
        promise = "OrgX says that more rows follow, but not how to request them"
        self.report.miss(promise, gap=True)  # guard: promised-rows

    def _judge(self) -> None:
        report = self.report
        if report.rows_without_id:
            report.miss(f"rows without an id: {report.rows_without_id}; they were skipped")
        if self._shared:
            ids, first = len(self._shared), min(self._shared)
            report.miss(f"{ids} ids name more than one row of a response ({first}); of each, only the last is kept")


class CursorReader(_PlainReader):
    """Pages by opaque cursor."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return the first query of `rows`."""
        return PageQuery(limit=ROWS_ASKED, since=watermark)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        query = self._accepted(self.first(watermark))
        self.report.stopped_early = query.since is not None
        page = self._fetch(query)
        yield from self._follow(query, page)
        self._judge_end(query, first=page)
        self._judge()

    def _judge_end(self, query: PageQuery, first: Page) -> None:
        """Judge whether the last page was the end, and compare the rows received with the total."""
        last, total = self._last, self._last.total
        full = len(last.rows) >= (last.limit or query.limit or ROWS_ASKED)
        if query.since is None:
            self._compare_with_total(total)
        elif total is None or total <= self._came:
            # It is unknown whether the total counts the full list or only the changes.
            self.report.miss("the route reports no total to compare with")
        else:
            self.report.note_total(total)
        if last.next_cursor is not None:
            return
        if last.has_more or (full and total is not None and total > self._came):
            self._miss_promised()
        elif full and last is first and total is None and last.has_more is None and not last.names_no_cursor:
            self.report.note_limit("the response was full and may be incomplete; rows may be missing")


class LimitReader(_PlainReader):
    """One response with a limit; if it may be incomplete, one more per value of a filter."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return the first query of `rows`."""
        return PageQuery(limit=ROWS_ASKED)

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return the expected size and cost of a read: one response, and those for the values of a filter."""
        if not page.rows or page.is_all(ROWS_ASKED):
            return Estimate(len(page.rows), 2 if needs_confirmation(len(page.rows), known) else 1)
        return Estimate(len(page.rows), 1 + len(self.route.slices[1] if self.route.slices else ()), at_least=True)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        query = self._accepted(self.first(watermark))
        page = self._fetch(query)
        if self.stored is not None and needs_confirmation(len(page.rows), self.stored):
            page = self._without_hollow_claims(query, page)  # guard: claims-of-a-short-list
        yield from self._follow(query, page)
        followed = page.next_cursor is not None and self._last.has_more is not True
        # A response without rows cannot have been truncated.
        if page.rows and not followed and page.is_all(query.limit) is not True:  # guard: short-answer-is-no-end
            name, values = self.route.slices or ("", ())
            slices = Slices(name, page, query.limit, self._keys.id)
            yield from self._ask_for_slices(query, slices, values)
            if page.total is None or not len(page.rows) < page.total <= self._came:
                self._judge_slices(slices)
        self._compare_with_total(page.total)
        self._judge()

    def _ask_for_slices(self, query: PageQuery, slices: Slices, values: Sequence[str]) -> Iterator[list[Row]]:
        for value in slices.values(values) if slices.name else ():
            try:
                page = self._fetch(replace(query, equals=(slices.name, value)))
            except ApiError as refusal:
                if not _is_refusal(refusal):
                    raise
                slices.refused.append(value)
                self._note_refusal(f"{slices.name}={value}", refusal)
                continue
            page = self._without_hollow(page)
            slices.add(value, page)
            yield self._unseen(page)

    def _judge_slices(self, slices: Slices) -> None:
        report, name = self.report, slices.name
        if slices.whole.has_more and not slices.brought_more:
            self._miss_promised()
        if slices.ignored:
            values = ", ".join(slices.ignored)
            report.note_limit(
                f"rows that may be missing cannot be requested: {name} is not honoured as a filter ({values})"
            )
        if slices.refused:
            report.note_limit(
                f"rows that may be missing cannot be requested: {name}={', '.join(slices.refused)} was refused"
            )
        if slices.full:
            report.note_limit(f"responses were full, older rows may be missing ({', '.join(slices.full)})")
        elif slices.suspected:
            report.note_limit(f"responses may be truncated, older rows may be missing ({', '.join(slices.suspected)})")
        if slices.unnamed is not None:
            report.note_limit(f"rows with other values of {name} may be missing ({slices.unnamed} were received)")


class FeedReader(_PlainReader):
    """The newest events; if one response may not hold them all, a larger response.

    Attributes:
        reached: Time of the oldest event in a possibly truncated response: events at or before it may be missing. None
            if everything requested was received.
    """

    def __init__(self, access: Access, table: Table, route: Route, spending: Spending | None = None) -> None:
        super().__init__(access, table, route, spending)
        self.reached: datetime | None = None
        self._longest = 0
        self._compared: set[int] = set()

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return the first query of `rows`."""
        return PageQuery(limit=EVENTS_ASKED, since=watermark)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        query = self._accepted(self.first(watermark))
        self.report.stopped_early = query.since is not None
        page = self._fetch(query)
        if query.since is None:
            page = self._without_hollow_claims(query, page)  # guard: total-of-the-answer
        yield from self._follow(query, page)
        if page.next_cursor is not None and len(self._seen) > len(page.rows) and self._last.has_more is not True:
            # Cursors have led to the oldest event.
            complete = True
        else:
            # A cursor without rows is the position for future events.
            page = replace(page, next_cursor=None)
            query, page, complete = yield from self._widen(query, page)
        if not complete:
            complete = yield from self._step_forward(query, page)
        self.reached = None if complete else self._oldest(page)
        self._judge_feed(page, complete=complete)
        self._judge()

    def _widen(self, query: PageQuery, page: Page) -> Generator[list[Row], None, tuple[PageQuery, Page, bool]]:
        """Request larger responses until one is complete or the server returns no larger one."""
        self._longest = max(self._longest, len(page.rows))
        grew = True
        while not (complete := (yield from self._is_complete(query, page))) and grew:
            limit = self._larger_limit(query, page)
            wider = None if limit is None else self._fetch_if_granted(replace(query, limit=limit))
            if wider is None:
                break
            grew = len(wider.rows) > len(page.rows)
            query, page = replace(query, limit=limit), wider
            self._longest = max(self._longest, len(page.rows))
            yield self._unseen(page)
        return query, page, complete

    def _is_complete(self, query: PageQuery, page: Page) -> Generator[list[Row], None, bool]:
        """Return whether a response holds everything since the requested time.

        If its total differs or is missing, older events are requested: a longer response shows that this one was not
        truncated.
        """
        came = len(page.rows)
        if page.is_all(query.limit) or (not came and page.total is None and not page.has_more):
            return True
        if page.has_more:
            return False
        full = query.limit is None or came >= query.limit
        if not full and query.since is not None and came not in self._compared and came >= self._longest:
            self._compared.add(came)
            longer = self._fetch_if_granted(replace(query, since=None, limit=came + 1))
            if longer is not None:
                self._longest = max(self._longest, len(longer.rows))
                yield self._unseen(longer)
        return not full and came < self._longest  # guard: window-that-was-not-cut

    @staticmethod
    def _larger_limit(query: PageQuery, page: Page) -> int | None:
        """Return how many events to request next; None if requesting more is useless."""
        if query.limit is None:
            return None
        if page.total is not None and page.total > len(page.rows):
            wanted = page.total + IDS_AT_ONCE
        elif len(page.rows) >= query.limit or page.has_more:
            wanted = query.limit * 10
        else:
            return None
        wanted = min(wanted, MAX_EVENTS)
        return wanted if wanted > query.limit else None

    def _step_forward(self, query: PageQuery, page: Page) -> Generator[list[Row], None, bool]:
        """Continue from the newest event if a server returns the oldest first; return whether all were received."""
        stamps = self._stamps(page)
        while len(stamps) > 1 and stamps[0] < stamps[-1] and stamps == sorted(stamps):
            page = self._fetch(replace(query, since=stamps[-1]))
            fresh = self._unseen(page)
            yield fresh
            if not fresh:
                return len(page.rows) < self._longest
            stamps = self._stamps(page)
        return False

    def _stamps(self, page: Page) -> list[datetime]:
        return [moment for row in page.rows if (moment := self._keys.created(row)) is not None]

    def _oldest(self, page: Page) -> datetime:
        # Events without a time say nothing about how far back they reach.
        return min(self._stamps(page), default=self._access.client.server_time or utc_now())

    def _judge_feed(self, page: Page, *, complete: bool) -> None:
        report, total = self.report, page.total
        since = "" if self.reached is None else f" (back to {self.reached:%Y-%m-%d %H:%M:%S} UTC)"
        if total is not None:
            report.note_total(total)
        if complete:
            # A larger total counts events other than those requested.
            if total is None:
                report.miss("OrgX reports no total to compare with")
        elif total is not None and total > len(page.rows):
            report.note_limit(
                f"OrgX returns only the newest {len(page.rows)} of {total} events{since}; older ones cannot be "
                "requested"
            )
        else:
            report.note_limit(
                f"OrgX reports no total to compare with, and the {len(page.rows)} events received may not be all{since}"
            )


class EntityReader(_PlainReader):
    """One request per entity that artifacts can be attached to."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return a query for the workspace, which only shows whether the route is open."""
        return self._query(("initiative", str(self._workspace_id)))

    @staticmethod
    def _query(parent: Parent) -> PageQuery:
        return PageQuery(parent=parent, limit=ROWS_ASKED)

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return an unknown size and cost: the number of entities is known only after reading them."""
        return Estimate(None, None)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        sizes: list[int] = []
        cut = answered = 0
        refusals: list[ApiError] = []
        for page in self._access.executor.map(self._of_entity, self._access.parents()):
            if isinstance(page, ApiError):
                refusals.append(page)
            elif page is not None:
                answered += 1
                yield self._unseen(page)
                said = page.is_all(ROWS_ASKED)
                cut += said is False or (said is None and len(page.rows) >= ROWS_ASKED)
                sizes += [len(page.rows)] if said is None and len(page.rows) < ROWS_ASKED else []
            if len(refusals) >= REFUSED_ENTITIES and not answered:
                break
        if refusals and not answered:
            raise refusals[0]
        self._judge_entities(sizes, cut, refusals)
        self._judge()

    def _judge_entities(self, sizes: Sequence[int], cut: int, refusals: Sequence[ApiError]) -> None:
        if cut:
            self.report.note_limit(f"{cut} entities have more artifacts than one response holds")
        longest = max(sizes, default=0)
        if longest >= SMALLEST_PAGE and sizes.count(longest) > 1:
            self.report.note_limit(
                f"responses for {sizes.count(longest)} entities have {longest} rows and may be truncated"
            )
        if refusals:
            self.report.note_limit(
                f"OrgX refused to list the artifacts of {len(refusals)} entities ({refusals[0].status})"
            )
            self._note_refusal(f"artifacts of {len(refusals)} entities", refusals[0])

    def _of_entity(self, parent: Parent) -> Page | ApiError | None:
        """Return the response for an entity, its refusal, or None for an entity deleted meanwhile."""
        try:
            return self._fetch(self._query(parent))
        except ApiError as error:
            if error.status in (404, 410):
                return None
            if error.status not in CLOSED_STATUSES:
                raise
            return error


class SearchReader(_PlainReader):
    """Pages by cursor, newest first; workspace by workspace if a list covers only one.

    Pages by cursor do not overlap. With rows sorted by creation time, newest first, inserts move the other rows down,
    so that rows repeat, and deletions move them up, so that rows are skipped. Nothing was skipped between two pages if
    the total did not fall. A list with a constant total, in order, without repeats and with as many rows as its total
    was read in full. Any other list is read again by offsets, in overlapping pages. So is the rest of a list that
    an earlier run has read in part: first the rows after its last page, then those newer than its first row.
    """

    _watch: _Watch | None = None
    _listing: Listing | None = None
    _asked = PageQuery()
    _met: frozenset[str] = frozenset()

    @property
    def position(self) -> Position | None:
        """Position from which a later read can continue: the workspace's list, and the place in it."""
        source = self._listing or self._watch
        place = None if source is None else source.position
        return place and replace(place, workspace=self._asked.workspace_id, met=tuple(sorted(self._met)))

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return the first query of `rows`."""
        return PageQuery(limit=ROWS_ASKED)

    def first_page(self, watermark: datetime | None = None) -> Page | None:
        """Fetch the first page of each workspace; return the first of them, with the sum of the totals."""
        page = super().first_page(watermark)
        if page is None:
            return None
        self._sizes = [page.total or len(page.rows)]
        totals = [page.total]
        self._note_workspaces(page.rows)
        for workspace_id in self._others():
            other = self._fetch(replace(self.first(None), limit=1, workspace_id=workspace_id))
            totals.append(other.total)
            self._sizes.append(other.total or len(other.rows))
        return replace(page, total=None if None in totals else sum(total or 0 for total in totals))

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return the expected size and cost: all pages of each workspace, or those after a position and the head."""
        size = page.limit or ROWS_ASKED
        if offset:
            remaining = max(0, sum(self._sizes) - offset)
            return Estimate(remaining, 1 + _count_pages(remaining, size), at_least=page.total is None)
        pages = sum(max(1, math.ceil(rows / size)) for rows in self._sizes)
        if not known:
            pages += sum(1 < rows <= size for rows in self._sizes)
        return Estimate(sum(self._sizes), pages, at_least=page.total is None)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        report, first = self.report, self.first(None)
        begun = None if resume is None else resume.workspace
        self._met = frozenset(resume.met if resume else ())
        report.order_obeyed = None if resume is None else True
        if begun is None:
            for rows in self._read_list(first, resume):
                self._note_workspaces(rows)
                yield rows
        else:
            self._count(first)
        others = self._others()
        if begun is not None and begun not in others:
            report.order_obeyed = False
            return
        for workspace_id in others:
            query = replace(first, workspace_id=workspace_id)
            if begun in (None, workspace_id):
                yield from self._read_list(query, resume if begun else None)
                begun = None
            else:
                self._count(query)
        if report.totals is not None and resume is None:
            report.short_by = max(0, report.totals[2] - self._came)
        self._judge()

    def _note_workspaces(self, rows: Sequence[Row]) -> None:
        keys = spellings(*self._table.workspace)
        named = (value for row in rows for key in keys if isinstance(value := row.get(key), str) and value)
        self._met |= {value.casefold() for value in named}

    def _others(self) -> list[str]:
        """Return the workspaces to read separately: none if rows of several were received already."""
        if self._access.client.config.workspace_id is not None:
            return []
        listed, complete = self._access.workspaces()
        if not complete:
            self.report.miss("OrgX does not list all workspaces of this login: rows of others may be missing")
        if len(self._met) > 1:
            return []
        met = self._met or {str(self._workspace_id).casefold()}
        return sorted(workspace_id for workspace_id in listed if workspace_id.casefold() not in met)

    def _count(self, query: PageQuery) -> None:
        """Ask how many rows a list has that an earlier run has read."""
        total = self._fetch(replace(query, limit=1)).total
        if total is None:
            self.report.miss("OrgX reports no total to compare with")
        else:
            self._add_total(total)

    def _read_list(self, query: PageQuery, resume: Position | None) -> Iterator[list[Row]]:
        """Yield the rows of one workspace."""
        self._asked, self._listing, self._watch = query, None, None
        if resume is not None:
            yield from self._read_by_offsets(query, ordered=True, resume=resume)
            return
        before, page = self._came, self._fetch(query)
        if self.stored == 0:
            page = self._without_hollow_claims(query, page)  # guard: claims-of-a-searched-list
        watch = self._watch = _Watch(self._keys)
        if page.total is not None:
            yield from self._follow(query, page, watch)
            brought = self._came - before
            if watch.stood_still and watch.last_total == brought and not self._last.has_more:
                self._add_total(brought)
                return
            self.report.moved = True
            logger.info("%s: the list moved while it was read; reading it again", self._table.name)
        yield from self._read_by_offsets(query, ordered=watch.in_order, resume=None)

    def _read_by_offsets(self, query: PageQuery, *, ordered: bool, resume: Position | None) -> Iterator[list[Row]]:
        """Yield the rows of one workspace that reading by cursor, or an earlier run, missed."""
        # Creation time plays the role here that the time of the last change plays in the other order.
        listing = self._listing = Listing(
            lambda offset, limit: self._fetch(replace(query, limit=limit, offset=offset)),
            replace(self._keys, updated=self._keys.created),
            order=Order.UPDATED if ordered else Order.UNKNOWN,
            resume=resume,
            stored=0 if self.stored == 0 else None,
            page_size=ROWS_ASKED,
            now=lambda: self._access.client.server_time,
        )
        for rows in listing:
            yield self._unseen(Page(rows))
        self._add_listing(listing.report)

    def _add_listing(self, found: ListingReport) -> None:
        report = self.report
        report.repeats += found.repeats
        report.seams_repaired += found.seams_repaired
        report.passes += found.passes
        report.moved = report.moved or found.moved
        report.order_obeyed = report.order_obeyed and found.order_obeyed
        report.rows_without_id = max(report.rows_without_id, found.rows_without_id)
        for reason in found.reasons:
            report.miss(reason.replace(Order.UPDATED.value, "created_at descending"), gap=found.gap)
        report.total_doubtful = report.total_doubtful or found.total_doubtful
        if found.totals is not None:
            self._add_total(found.totals[2])

    def _least_requests(self, watermark: datetime | None) -> int:
        total = self._watch.last_total if self._watch is not None else None
        return max(self.report.pages + 1, math.ceil((total or 0) / ROWS_ASKED))

    def _add_total(self, total: int) -> None:
        low, high, last = self.report.totals or (0, 0, 0)
        self.report.totals = (low + total, high + total, last + total)


class _Watch:
    """Watches the pages of a list for changes."""

    def __init__(self, keys: RowKeys) -> None:
        self._keys = keys
        self._newest: datetime | None = None
        self._oldest: datetime | None = None
        self._rows = 0
        self._fell = False
        self._tied = False
        self._totals: set[int | None] = set()
        self._ids: set[str] = set()
        self.in_order = True
        self.last_total: int | None = None
        self._repeated = False

    @property
    def stood_still(self) -> bool:
        """Whether every page had the same total, and only rows older than those before, each once."""
        return len(self._totals) == 1 and None not in self._totals and self.in_order and not self._repeated

    @property
    def position(self) -> Position | None:
        """Position from which a later read can continue; None if rows may have been skipped."""
        if self._newest is None or self._oldest is None or self._fell or not self.in_order:  # guard: passed-over
            return None
        return Position(self._rows, -self._oldest.timestamp(), self._tied, -self._newest.timestamp())

    def look(self, page: Page) -> None:
        """Check a page."""
        self._fell = self._fell or page.total is None or (self.last_total or 0) > page.total
        self._totals.add(page.total)
        self.last_total = page.total
        self._rows += len(page.rows)
        before = self._oldest
        for row in page.rows:
            row_id, made = self._keys.id(row), self._keys.created(row)
            if row_id is not None and row_id in self._ids:
                self._repeated = True
                continue
            if row_id is not None:
                self._ids.add(row_id)
            # A row without a time has no position in the order; the other rows prove nothing about it.
            self.in_order = self.in_order and made is not None and (self._oldest is None or made <= self._oldest)
            self._oldest = made or self._oldest
            self._newest = self._newest or made
        # All rows since the end of the previous page share one time.
        self._tied = self._tied or (before is not None and before == self._oldest and bool(page.rows))


class ToldReader(_PlainReader):
    """Rows that the transport returned with the workspace; sends no request."""

    def first(self, watermark: datetime | None) -> None:
        """Return None: bootstrap already has the answer."""
        return

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        told = self._access.client.workspaces
        rows = [dict(self._access.workspace)] if told is None else [dict(row) for row in told]
        yield self._unseen(Page(rows))
        if told is None:
            self.report.miss("OrgX lists more workspaces than one response holds", gap=True)
        else:
            self.report.note_total(len(rows))
        self._judge()


class SnapshotReader(_PlainReader):
    """Everything at once."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return the query of `rows`."""
        return PageQuery()

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        page = self._fetch(self.first(watermark))
        rows = self._unseen(page)
        if page.total is None:
            self.report.miss("OrgX reports no total to compare with")
        else:
            self.report.note_total(page.total)
        if page.total is not None and page.total != self._came:
            self.report.short_by = max(0, page.total - self._came)
            self.report.miss(
                f"OrgX counts {page.total} rows, {len(self._seen)} were received", gap=page.total > self._came
            )
        elif page.has_more or page.next_cursor is not None:
            self._miss_promised()
        self._judge()
        yield rows


class WindowReader(_PlainReader):
    """One response with live or recent rows; missing rows may be older and do not count as deleted."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return the query of `rows`."""
        return PageQuery(limit=self.route.asks)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        query = self._accepted(self.first(watermark))
        page = self._fetch(query)
        yield from self._follow(query, page)
        # Its total is not recorded: it counts the window, and the warehouse also holds rows that have left it.
        came, full = self._came, query.limit is not None and len(page.rows) >= query.limit
        if page.total is not None and page.total > came:
            self.report.note_limit(f"OrgX counts {page.total} rows and returned {came}; the others cannot be requested")
        elif self._last.has_more or (full and page.is_all(query.limit) is not True and self._last is page):
            self.report.note_limit(f"the response was full ({came} rows) and may be truncated")
        self._judge()


READERS: dict[Paging, type[RouteReader]] = {
    "offset": OffsetReader,
    "workspaces": WorkspacesReader,
    "bootstrap": BootstrapReader,
    "cursor": CursorReader,
    "limit": LimitReader,
    "feed": FeedReader,
    "by_entity": EntityReader,
    "snapshot": SnapshotReader,
    "window": WindowReader,
    "search": SearchReader,
    "told": ToldReader,
}


def open_route(access: Access, table: Table, route: Route, spending: Spending | None = None) -> RouteReader:
    """Return the reader of a table from a route; sends no request."""
    return READERS[route.paging](access, table, route, spending)
