"""Reads a table in pages without seams: by cursor, in one response, by filter or by entity.

What such a read proves rests on the counts and ends that the responses claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from orgx_source.api.envelope import Page, Row
from orgx_source.api.limits import Spending
from orgx_source.api.listing import Position
from orgx_source.api.paging import needs_confirmation
from orgx_source.api.query import PageQuery, Parent
from orgx_source.api.route_choice import CLOSED_STATUSES
from orgx_source.api.route_reader import ROWS_ASKED, SMALLEST_PAGE, Access, Estimate, RouteReader, is_refusal
from orgx_source.api.routes import Route
from orgx_source.api.slices import Slices
from orgx_source.errors import ApiError, AuthError, DriftError, RateLimitError
from orgx_source.tables import Table

MAX_CURSOR_PAGES = 100_000
# Consecutive pages without a new row, each with a new cursor.
MAX_IDLE_PAGES = 100
# After this many refused entities, and none served, the route counts as closed.
REFUSED_ENTITIES = 10


class PlainReader(RouteReader):
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

    def _follow(self, query: PageQuery, page: Page, look: Callable[[Page], None] | None = None) -> Iterator[list[Row]]:
        """Yield the rows of a response and of all following pages; ``_last`` is the last page.

        Args:
            query: The query.
            page: The response.
            look: Called with each page.

        Raises:
            DriftError: The cursors do not reach an end.
        """
        asked: set[str] = set()
        idle = 0
        while True:
            if look is not None:
                look(page)
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


class CursorReader(PlainReader):
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


class LimitReader(PlainReader):
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
                if not is_refusal(refusal):
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


class EntityReader(PlainReader):
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


class BootstrapReader(RouteReader):
    """The one workspace that bootstrap returns."""

    def first(self, watermark: datetime | None) -> None:
        """Return None: bootstrap already has the answer."""
        return

    def _read(self, watermark: datetime | None, resume: Position | None) -> Iterator[list[Row]]:
        self.report.pages = 1
        self.report.note_total(1)
        yield [dict(self._access.workspace)]


class ToldReader(PlainReader):
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


class SnapshotReader(PlainReader):
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


class WindowReader(PlainReader):
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
