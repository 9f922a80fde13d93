"""Reads a table over typed search: by cursor, newest first, workspace by workspace."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from orgx_source.api.envelope import Page, Row
from orgx_source.api.listing import ListingReport, Order, Position, RowKeys
from orgx_source.api.offset_reader import count_pages
from orgx_source.api.paging import Listing
from orgx_source.api.plain_readers import PlainReader
from orgx_source.api.query import PageQuery
from orgx_source.api.route_reader import ROWS_ASKED, Estimate
from orgx_source.tables import spellings

logger = logging.getLogger(__name__)


class SearchReader(PlainReader):
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
            return Estimate(remaining, 1 + count_pages(remaining, size), at_least=page.total is None)
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
            yield from self._follow(query, page, watch.look)
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
