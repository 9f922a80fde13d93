"""One table from one route, whatever way the route pages: lists of rows, and a report of how sure they are.

Chooses no route and keeps no state; that is the source's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from datetime import datetime

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page, Row
from orgx_source.api.limits import Spending
from orgx_source.api.listing import ListingReport, Order, Position, RowKeys
from orgx_source.api.paging import Listing
from orgx_source.api.routes import Route
from orgx_source.errors import DriftError, RouteClosedError
from orgx_source.tables import Table, is_id
from orgx_source.times import iso_utc, parse_timestamp

# No maximum is published; 100 is the largest that OrgX's own schema names.
LIMIT_ASKED = 100
FEED_LIMIT_ASKED = 1000
IDS_AT_ONCE = 100
CURSOR_PAGES_MOST = 100_000

Parents = Callable[[], Iterable[tuple[str, str]]]
"""Gives (entity type, id) of everything an artifact can be attached to."""


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

    made = ("timestamp",) if table.append_only else ("created_at", "createdAt")
    return RowKeys(id=text, created=moment(*made), updated=moment("updated_at", "updatedAt"))


class RouteReader:
    """Reads one table from one route.

    Iterate over `rows` to receive lists of rows, each id once; ``report`` is complete when the iteration is.

    Attributes:
        report: What was seen, and the verdict.
        spending: What it cost.
    """

    def __init__(
        self,
        client: OrgxClient,
        table: Table,
        route: Route,
        executor: Executor,
        *,
        workspace: Row | None = None,
        parents: Parents = tuple,
        spending: Spending | None = None,
    ) -> None:
        """Prepare to read; no request is made.

        Args:
            client: The door to OrgX.
            table: What to read.
            route: Where to read it.
            executor: Runs requests side by side; shared by all tables.
            workspace: Bootstrap's answer: the workspace that the key resolves to, for routes that demand one.
            parents: For routes that list artifacts per entity.
            spending: Where to note what it costs.
        """
        self.report = ListingReport()
        self.spending = spending or Spending()
        self.route = route
        self._listing: Listing | None = None
        self._client = client
        self._table = table
        self._keys = row_keys(table)
        self._executor = executor
        self._workspace = workspace or {}
        self._workspace_id = client.config.workspace_id or self._workspace.get("id")
        self._parents = parents

    @property
    def position(self) -> Position | None:
        """Where a later read can go on; None where this route or its order does not allow that."""
        return self._listing.position if self._listing is not None else None

    def rows(self, watermark: datetime | None = None, resume: Position | None = None) -> Iterator[list[Row]]:
        """Read the table, or with a watermark what changed since, where the route can tell.

        Args:
            watermark: Older changes are known.
            resume: Rows before it were read by an earlier run; for routes that sort.

        Raises:
            OrgxError: From the client, or a list that cannot be read to its end.
        """
        match self.route.paging:
            case "offset" if self.route.adds_bootstrap:
                yield from self._with_workspace(self._offset(None, None))
            case "offset":
                yield from self._offset(watermark, resume)
            case "cursor":
                yield from self._cursor(watermark)
            case "limit":
                yield from self._limit()
            case "feed":
                yield from self._feed(watermark)
            case "by_entity":
                yield from self._by_entity()
            case "snapshot":
                yield from self._snapshot()
            case "bootstrap":
                self.report.pages = 1
                self.report.verdict = "certified"
                self.report.totals = (1, 1, 1)
                yield [self._workspace]
        if self.route.caveat and self.report.verdict != "uncertified":
            self.report.verdict = "uncertified"
        if self.route.caveat:
            self.report.miss(self.route.caveat)

    def first_page(self, watermark: datetime | None = None) -> Page | None:
        """Fetch what `rows` fetches first; None where bootstrap has told it all.

        Of a route that lists per entity this is the answer for the workspace, which only shows whether it is open.

        Raises:
            OrgxError: From the client.
        """
        match self.route.paging:
            case "bootstrap":
                return None
            case "offset":
                page_size = self._client.config.page_size
                return self._fetch({**self._ordering(watermark), "limit": page_size, "offset": 0})
            case "cursor":
                return self._fetch({"limit": LIMIT_ASKED, **_since("updated_since", watermark)})
            case "feed":
                return self._fetch({"limit": FEED_LIMIT_ASKED, **_since("since", watermark)})
            case "limit":
                return self._fetch({"limit": LIMIT_ASKED})
            case "by_entity":
                return self._fetch({"entity_type": "initiative", "entity_id": str(self._workspace_id)})
            case "snapshot":
                return self._fetch({})

    def find_ids(self, ids: Sequence[str]) -> set[str] | None:
        """Ask OrgX for exactly these ids; return those it still has, None when it cannot be asked.

        Where the route takes no ids, it is read a second time.

        Raises:
            OrgxError: From the client.
        """
        if self.route.takes_ids:
            return self._ask_for_ids(ids)
        again = RouteReader(
            self._client,
            self._table,
            self.route,
            self._executor,
            workspace=self._workspace,
            parents=self._parents,
            spending=self.spending,
        )
        found = {row_id for rows in again.rows() for row in rows if (row_id := self._keys.id(row)) is not None}
        return None if again.report.verdict == "uncertified" else found & set(ids)

    def _ask_for_ids(self, ids: Sequence[str]) -> set[str] | None:
        # A page that was cut short would make rows look as if they were gone: never ask for more than a page holds.
        size = min(IDS_AT_ONCE, self.report.page_size or IDS_AT_ONCE)
        found: set[str] = set()
        for start in range(0, len(ids), size):
            chunk = set(ids[start : start + size])
            page = self._fetch({"ids": ",".join(sorted(chunk)), "fields": "id", "limit": len(chunk)})
            answered = {row_id for row in page.rows if (row_id := self._keys.id(row)) is not None}
            if answered - chunk:
                # Other rows than those asked for: the filter is not honoured here.
                return None
            found |= answered
        return found

    def _fetch(self, params: dict[str, str | int]) -> Page:
        scope: dict[str, str | int] = {}
        if (self.route.needs_workspace or self._client.config.workspace_id) and self._workspace_id:
            scope = {"workspace_id": self._workspace_id}
            if not self.route.needs_workspace:
                # OrgX's newest client sends both names with one value.
                scope["command_center_id"] = self._workspace_id
        return self._client.fetch_page(self.route, {**scope, **params}, self.spending)

    def _ordering(self, watermark: datetime | None) -> dict[str, str | int]:
        if not self.route.sorts:
            return {}
        field, direction = ("created_at", "asc") if watermark is None else ("updated_at", "desc")
        return {"order_by": field, "order_direction": direction}

    def _offset(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        order, ordering = Order.UNKNOWN, self._ordering(watermark)
        if ordering:
            order = Order.CREATED if watermark is None else Order.UPDATED

        def fetch(offset: int, limit: int) -> Page:
            return self._fetch({**ordering, "limit": limit, "offset": offset})

        listing = Listing(
            fetch,
            self._keys,
            order=order,
            watermark=watermark,
            resume=resume,
            page_size=self._client.config.page_size,
            executor=self._executor,
            # Twice: while pages that have come wait for their turn, no worker should be idle (5 % of a first sync at
            # 50 ms). When the list turns out to have moved, those that nobody has begun to fetch cost nothing.
            ahead=2 * self._client.config.workers,
        )
        self.report = listing.report
        self._listing = listing if order is Order.CREATED else None
        yield from listing

    def _with_workspace(self, batches: Iterator[list[Row]]) -> Iterator[list[Row]]:
        """Add what bootstrap says of its workspace, and the workspace itself where the list does not hold it."""
        own, listed = self._workspace, False
        for rows in batches:
            listed = listed or any(self._keys.id(row) == own.get("id") for row in rows)
            yield [{**row, **own} if self._keys.id(row) == own.get("id") else row for row in rows]
        if own and not listed:
            yield [own]
            if self.report.totals is not None:
                low, high, last = self.report.totals
                self.report.totals = (low + 1, high + 1, last + 1)

    def _cursor(self, watermark: datetime | None) -> Iterator[list[Row]]:
        params: dict[str, str | int] = {"limit": LIMIT_ASKED, **_since("updated_since", watermark)}
        self.report.stopped_early = watermark is not None
        cursors: set[str] = set()
        seen: set[str] = set()
        while True:
            page = self._fetch(params)
            yield self._unseen(page, seen)
            if page.next_cursor is None:
                break
            if page.next_cursor in cursors or len(cursors) > CURSOR_PAGES_MOST:
                raise DriftError(f"{self.route.path} gave the same cursor twice; its list does not end")
            cursors.add(page.next_cursor)
            params = {**params, "cursor": page.next_cursor}
        self.report.miss("the route gives no total to check against")

    def _limit(self) -> Iterator[list[Row]]:
        seen: set[str] = set()
        page = self._fetch({"limit": LIMIT_ASKED})
        yield self._unseen(page, seen)
        self.report.miss("the route gives no total to check against")
        if len(page.rows) < (page.limit or LIMIT_ASKED) and len(page.rows) % 50:
            return
        name, values = self.route.slices or ("", ())
        full = [name] if not values else []
        for value in values:
            page = self._fetch({"limit": LIMIT_ASKED, name: value})
            yield self._unseen(page, seen)
            if len(page.rows) >= LIMIT_ASKED:
                full.append(f"{name}={value}")
        if full:
            self.report.miss(f"answers were full, older rows may be missing ({', '.join(full)})")

    def _feed(self, watermark: datetime | None) -> Iterator[list[Row]]:
        params: dict[str, str | int] = {"limit": FEED_LIMIT_ASKED, **_since("since", watermark)}
        self.report.stopped_early = watermark is not None
        seen: set[str] = set()
        page = self._fetch(params)
        if page.total is not None and page.total > len(page.rows) > 0:
            # One larger answer is the only way to the older events: the feed knows no offset.
            yield self._unseen(self._fetch({**params, "limit": page.total + IDS_AT_ONCE}), seen)
        yield self._unseen(page, seen)
        total = self.report.totals[2] if self.report.totals else None
        if total is None:
            self.report.miss("OrgX gave no total to check against")
        elif total > len(seen):
            self.report.miss(
                f"OrgX gives the newest {len(seen)} of {total} events; the feed cannot be asked for older ones"
            )
        self._judge()

    def _by_entity(self) -> Iterator[list[Row]]:
        def fetch(parent: tuple[str, str]) -> tuple[str, Page | None]:
            try:
                return parent[0], self._fetch({"entity_type": parent[0], "entity_id": parent[1], "limit": LIMIT_ASKED})
            except RouteClosedError as error:
                # An entity that vanished meanwhile answers 404; any other refusal closes the route.
                if error.status != 404:
                    raise
                return parent[0], None

        seen: set[str] = set()
        full = 0
        for _, page in self._executor.map(fetch, self._parents()):
            if page is not None:
                yield self._unseen(page, seen)
                full += len(page.rows) >= LIMIT_ASKED
        if full:
            self.report.miss(f"{full} entities have more artifacts than one answer holds")

    def _snapshot(self) -> Iterator[list[Row]]:
        seen: set[str] = set()
        page = self._fetch({})
        rows = self._unseen(page, seen)
        if page.total is None:
            self.report.miss("OrgX gave no total to check against")
        elif page.total != len(seen) + self.report.nameless:
            self.report.short_by = max(0, page.total - len(seen) - self.report.nameless)
            self.report.miss(f"OrgX counts {page.total} rows, {len(seen)} came")
        self._judge()
        yield rows

    def _unseen(self, page: Page, seen: set[str]) -> list[Row]:
        """Count a page, and return its rows that did not come before; of two copies the last."""
        report = self.report
        report.pages += 1
        report.received += len(page.rows)
        if page.total is not None:
            low, high, _ = report.totals or (page.total,) * 3
            report.totals = (min(low, page.total), max(high, page.total), page.total)
        fresh: dict[str, Row] = {}
        for row in page.rows:
            row_id = self._keys.id(row)
            if row_id is None:
                report.nameless += 1
            elif row_id not in seen:
                fresh[row_id] = row
        seen.update(fresh)
        report.distinct = len(seen)
        return list(fresh.values())

    def _judge(self) -> None:
        if self.report.nameless:
            self.report.miss(f"rows without an id: {self.report.nameless}; they were kept out")
        self.report.verdict = "uncertified" if self.report.reasons else "certified"


def _since(name: str, watermark: datetime | None) -> dict[str, str]:
    return {} if watermark is None else {name: iso_utc(watermark)}
