"""One table from one route, one class for each way in which routes page: lists of rows, and how sure they are.

Chooses no route and keeps no state. What a read asks first is one method, which `check` and `plan` ask too.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page, Row
from orgx_source.api.limits import Spending
from orgx_source.api.listing import ListingReport, Order, Position, RowKeys
from orgx_source.api.paging import Listing
from orgx_source.api.query import PageQuery, Parent
from orgx_source.api.routes import Paging, Route
from orgx_source.errors import DriftError, RouteClosedError
from orgx_source.tables import Table, is_id, spellings
from orgx_source.times import parse_timestamp

# No maximum is published; 100 is the largest that OrgX's own schema names.
ROWS_ASKED = 100
EVENTS_ASKED = 1000
IDS_AT_ONCE = 100
MAX_CURSOR_PAGES = 100_000


def row_keys(table: Table) -> RowKeys:
    """Return how to read id and times from this table's rows, over all keys of their families."""
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
    """What the readers of one run share.

    Attributes:
        client: Sends the requests.
        executor: Runs them side by side.
        workspace: Bootstrap's answer: the workspace that the key resolves to.
        parents: Gives everything an artifact can be attached to.
    """

    client: OrgxClient
    executor: Executor
    workspace: Row = field(default_factory=dict)
    parents: Callable[[], Iterable[Parent]] = tuple


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a read will bring and cost, as far as its first page tells.

    Attributes:
        rows: Rows to read; None where only the read itself can tell.
        requests: Requests to send, about; None likewise.
        at_least: Whether both may be more.
        then_whole: Whether fewer rows are listed than are known, so that the list is read whole after the changes.
    """

    rows: int | None
    requests: int | None
    at_least: bool = False
    then_whole: bool = False


class RouteReader(ABC):
    """Reads one table from one route; made by `open_route`.

    Iterate over `rows` to receive lists of rows, each id once; ``report`` is complete when the iteration is.

    Attributes:
        route: The route.
        report: What was seen, and the verdict.
        spending: What it cost.
    """

    def __init__(self, access: Access, table: Table, route: Route, spending: Spending | None = None) -> None:
        """Prepare to read; no request is made.

        Args:
            access: What readers share.
            table: What to read.
            route: Where to read it.
            spending: Where to note what it costs.
        """
        self.route = route
        self.report = ListingReport()
        self.spending = spending or Spending()
        self._access = access
        self._table = table
        self._keys = row_keys(table)

    @property
    def position(self) -> Position | None:
        """Where a later read can go on; None where this route or its order does not allow that."""
        return None

    def rows(self, watermark: datetime | None = None, resume: Position | None = None) -> Iterator[list[Row]]:
        """Read the table, or with a watermark what changed since, where the route can tell.

        Args:
            watermark: Older changes are known.
            resume: Rows before it were read by an earlier run; for routes that sort.

        Raises:
            OrgxError: From the client, or a list that cannot be read to its end.
        """
        yield from self._read(watermark, resume)
        self.report.finished = True
        if self.route.caveat:
            self.report.miss(self.route.caveat)

    @abstractmethod
    def first(self, watermark: datetime | None) -> PageQuery | None:
        """Return what `rows` asks first; None where bootstrap has told it all."""

    @abstractmethod
    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        """Yield lists of rows, each id once, and complete the report."""

    def first_page(self, watermark: datetime | None = None) -> Page | None:
        """Fetch what `rows` fetches first; None where bootstrap has told it all.

        Raises:
            OrgxError: From the client.
        """
        query = self.first(watermark)
        return None if query is None else self._fetch(query)

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return what a read will bring and cost.

        Args:
            page: Its first page.
            watermark: As for `rows`.
            offset: Rows that an earlier read, which was cut short, has read already.
            known: Rows that the warehouse holds and does not call deleted.
        """
        more = page.next_cursor is not None or (page.total is not None and page.total > len(page.rows))
        return Estimate(len(page.rows), 1, at_least=more)

    def find_ids(self, ids: Sequence[str]) -> set[str] | None:
        """Ask OrgX for exactly these ids; return those it still has, None when it cannot be asked.

        Where the route takes no ids, it is read a second time.

        Raises:
            OrgxError: From the client.
        """
        if self.route.takes_ids:
            return self._ask_for_ids(ids)
        again = type(self)(self._access, self._table, self.route, self.spending)
        found = {row_id for rows in again.rows() for row in rows if (row_id := self._keys.id(row)) is not None}
        return None if again.report.verdict == "uncertified" else found & set(ids)

    def _ask_for_ids(self, ids: Sequence[str]) -> set[str] | None:
        # A page that was cut short would make rows look as if they were gone: never ask for more than a page holds.
        size = min(IDS_AT_ONCE, self.report.page_size or IDS_AT_ONCE)
        found: set[str] = set()
        for start in range(0, len(ids), size):
            chunk = set(ids[start : start + size])
            page = self._fetch(PageQuery(ids=tuple(sorted(chunk)), fields=("id",), limit=len(chunk)))
            answered = {row_id for row in page.rows if (row_id := self._keys.id(row)) is not None}
            if answered - chunk:  # guard: filter-that-is-not-honoured
                # Other rows than those asked for: the filter is not honoured here.
                return None
            found |= answered
        return found

    @property
    def _workspace_id(self) -> str | None:
        own = self._access.workspace.get("id")
        return self._access.client.config.workspace_id or (str(own) if own else None)

    def _fetch(self, query: PageQuery) -> Page:
        client = self._access.client
        if self.route.needs_workspace or client.config.workspace_id:
            query = replace(query, workspace_id=self._workspace_id)
        return client.fetch_page(self.route, query, self.spending)


class OffsetReader(RouteReader):
    """Limit and offset: joined by their seams, resumed, and stopped at a watermark where the route sorts."""

    _listing: Listing | None = None

    @property
    def position(self) -> Position | None:
        """Where a later read can go on; None where this route or its order does not allow that."""
        return self._listing.position if self._listing is not None else None

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return what `rows` asks first."""
        return PageQuery(order=self._order(watermark), limit=self._page_size, offset=0)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        first = self.first(watermark)
        listing = Listing(
            lambda offset, limit: self._fetch(replace(first, limit=limit, offset=offset)),
            self._keys,
            order=first.order,
            watermark=watermark,
            resume=resume,
            page_size=self._page_size,
            executor=self._access.executor,
            # Twice: while pages that have come wait for their turn, no worker should be idle (5 % of a first sync at
            # 50 ms). When the list turns out to have moved, those that nobody has begun to fetch cost nothing.
            ahead=2 * self._access.client.config.workers,
        )
        self.report = listing.report
        self._listing = listing if first.order is Order.CREATED else None
        yield from listing

    @property
    def _page_size(self) -> int:
        return self._access.client.config.page_size

    def _order(self, watermark: datetime | None) -> Order:
        if not self.route.sorts:
            return Order.UNKNOWN
        return Order.CREATED if watermark is None else Order.UPDATED

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return what a read will bring and cost: all pages, or those with changes."""
        size = page.limit or len(page.rows) or self._page_size
        if watermark is None:
            remaining = len(page.rows) if page.total is None else max(0, page.total - offset)
            return Estimate(remaining, _count_pages(remaining, size), at_least=page.total is None)
        stamps = [self._keys.updated(row) or self._keys.created(row) for row in page.rows]
        changed = sum(stamp is None or stamp >= watermark for stamp in stamps)
        if changed == len(page.rows) and (page.has_more or (page.total or 0) > changed):
            # More than a page has changed; where it ends, only reading on would tell.
            return Estimate(len(page.rows), 2, at_least=True)
        if page.total is not None and page.total < known:
            return Estimate(page.total, 1 + _count_pages(page.total, size), then_whole=True)
        return Estimate(len(page.rows), 1)


def _count_pages(rows: int, size: int) -> int:
    """Return how many pages of this size, each overlapping the next by a tenth, hold so many rows."""
    overlap = max(1, size // 10)
    return 1 + max(0, math.ceil((rows - size) / max(1, size - overlap)))


class WorkspacesReader(OffsetReader):
    """The list of workspaces, which is always read whole, joined with what bootstrap says of its own one."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return what `rows` asks first."""
        return super().first(None)

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return what a read will bring and cost: all pages."""
        return super().estimate(page, None, offset, known)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        own, listed = self._access.workspace, False
        for rows in super()._read(None, None):
            listed = listed or any(self._keys.id(row) == own.get("id") for row in rows)
            yield [{**row, **own} if self._keys.id(row) == own.get("id") else row for row in rows]
        if own and not listed:
            yield [dict(own)]
            if self.report.totals is not None:
                low, high, last = self.report.totals
                self.report.totals = (low + 1, high + 1, last + 1)


class BootstrapReader(RouteReader):
    """The one workspace that bootstrap tells."""

    def first(self, watermark: datetime | None) -> None:
        """Return nothing: bootstrap has told it all."""
        return

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        self.report.pages = 1
        self.report.note_total(1)
        yield [dict(self._access.workspace)]


class _PlainReader(RouteReader):
    """What the other ways have in common: pages without seams, and a report that is kept by hand."""

    def __init__(self, access: Access, table: Table, route: Route, spending: Spending | None = None) -> None:
        super().__init__(access, table, route, spending)
        self._seen: set[str] = set()

    def _unseen(self, page: Page) -> list[Row]:
        """Count a page, and return its rows that did not come before; of two copies the last."""
        report = self.report
        report.pages += 1
        report.received += len(page.rows)
        if page.total is not None:
            report.note_total(page.total)
        fresh: dict[str, Row] = {}
        for row in page.rows:
            row_id = self._keys.id(row)
            if row_id is None:
                report.rows_without_id += 1
            elif row_id not in self._seen:
                fresh[row_id] = row
        self._seen.update(fresh)
        return list(fresh.values())

    def _judge(self) -> None:
        report = self.report
        if report.rows_without_id:
            report.miss(f"rows without an id: {report.rows_without_id}; they were kept out")


class CursorReader(_PlainReader):
    """An opaque cursor from page to page."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return what `rows` asks first."""
        return PageQuery(limit=ROWS_ASKED, since=watermark)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        query = self.first(watermark)
        self.report.stopped_early = watermark is not None
        cursors: set[str] = set()
        while True:
            page = self._fetch(query)
            yield self._unseen(page)
            if page.next_cursor is None:
                break
            if page.next_cursor in cursors or len(cursors) > MAX_CURSOR_PAGES:
                raise DriftError(f"{self.route.path} gave the same cursor twice; its list does not end")
            cursors.add(page.next_cursor)
            query = replace(query, cursor=page.next_cursor)
        self.report.miss("the route gives no total to check against")


class LimitReader(_PlainReader):
    """One answer of at most so many rows; where it is full, one more for each value of a filter."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return what `rows` asks first."""
        return PageQuery(limit=ROWS_ASKED)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        query = self.first(watermark)
        page = self._fetch(query)
        yield self._unseen(page)
        self.report.miss("the route gives no total to check against")
        if len(page.rows) < (page.limit or ROWS_ASKED) and len(page.rows) % 50:
            return
        name, values = self.route.slices or ("", ())
        full = [name] if not values else []
        for value in values:
            page = self._fetch(replace(query, equals=(name, value)))
            yield self._unseen(page)
            if len(page.rows) >= ROWS_ASKED:
                full.append(f"{name}={value}")
        if full:
            self.report.miss(f"answers were full, older rows may be missing ({', '.join(full)})", gap=True)


class FeedReader(_PlainReader):
    """The newest events, and where they are more than one answer holds, a larger answer."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return what `rows` asks first."""
        return PageQuery(limit=EVENTS_ASKED, since=watermark)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        query = self.first(watermark)
        self.report.stopped_early = watermark is not None
        page = self._fetch(query)
        if page.total is not None and page.total > len(page.rows) > 0:
            # One larger answer is the only way to the older events: the feed knows no offset.
            yield self._unseen(self._fetch(replace(query, limit=page.total + IDS_AT_ONCE)))
        yield self._unseen(page)
        total = self.report.totals[2] if self.report.totals else None
        if total is None:
            self.report.miss("OrgX gave no total to check against")
        elif total > len(self._seen):
            self.report.miss(
                f"OrgX gives the newest {len(self._seen)} of {total} events; the feed cannot be asked for older ones",
                gap=True,
            )
        self._judge()


class EntityReader(_PlainReader):
    """One request for each entity that something may be attached to."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return the question for the workspace, which only shows whether the route is open."""
        return self._query(("initiative", str(self._workspace_id)))

    @staticmethod
    def _query(parent: Parent) -> PageQuery:
        return PageQuery(parent=parent, limit=ROWS_ASKED)

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return nothing known: only reading the entities tells how many there are."""
        return Estimate(None, None)

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        full = 0
        for page in self._access.executor.map(self._of_entity, self._access.parents()):
            if page is not None:
                yield self._unseen(page)
                full += len(page.rows) >= ROWS_ASKED
        if full:
            self.report.miss(f"{full} entities have more artifacts than one answer holds", gap=True)

    def _of_entity(self, parent: Parent) -> Page | None:
        try:
            return self._fetch(self._query(parent))
        except RouteClosedError as error:
            # An entity that vanished meanwhile answers 404; any other refusal closes the route.
            if error.status != 404:
                raise
            return None


class SnapshotReader(_PlainReader):
    """Everything at once."""

    def first(self, watermark: datetime | None) -> PageQuery:
        """Return what `rows` asks."""
        return PageQuery()

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        page = self._fetch(self.first(watermark))
        rows = self._unseen(page)
        came = len(self._seen) + self.report.rows_without_id
        if page.total is None:
            self.report.miss("OrgX gave no total to check against")
        elif page.total != came:
            self.report.short_by = max(0, page.total - came)
            self.report.miss(f"OrgX counts {page.total} rows, {len(self._seen)} came", gap=page.total > came)
        self._judge()
        yield rows


READERS: dict[Paging, type[RouteReader]] = {
    "offset": OffsetReader,
    "workspaces": WorkspacesReader,
    "bootstrap": BootstrapReader,
    "cursor": CursorReader,
    "limit": LimitReader,
    "feed": FeedReader,
    "by_entity": EntityReader,
    "snapshot": SnapshotReader,
}


def open_route(access: Access, table: Table, route: Route, spending: Spending | None = None) -> RouteReader:
    """Return the reader of a table from a route; no request is made."""
    return READERS[route.paging](access, table, route, spending)
