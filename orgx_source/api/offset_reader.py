"""Reads a table page by page with limit and offset; `paging` proves that nothing is missing between the pages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from orgx_source.api.envelope import Page, Row
from orgx_source.api.listing import Order, Position
from orgx_source.api.paging import Listing, needs_confirmation
from orgx_source.api.query import PageQuery
from orgx_source.api.route_reader import Estimate, RouteReader


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
        return max(report.pages + 1, passes * count_pages(report.totals[2], report.page_size or self._page_size))

    def sample(self, total: int, share: float) -> list[Row] | None:
        """Return one page of rows, sorted by creation time if the route sorts."""
        offset = int(share * max(0, total - self._page_size))
        return list(self._fetch(replace(self._accepted(self.first(None)), offset=offset)).rows)

    def estimate(self, page: Page, watermark: datetime | None, offset: int, known: int) -> Estimate:
        """Return the expected size and cost of a read: all pages, or those with changes."""
        size = page.limit or len(page.rows) or self._page_size
        if watermark is None:
            remaining = len(page.rows) if page.total is None else max(0, page.total - offset)
            requests = count_pages(remaining, size)
            if requests == 1 and not offset and needs_confirmation(len(page.rows), known):
                requests += 1
            return Estimate(remaining, requests, at_least=page.total is None)
        stamps = [self._keys.updated(row) or self._keys.created(row) for row in page.rows]
        changed = sum(stamp is None or stamp >= watermark for stamp in stamps)
        if changed == len(page.rows) and (page.has_more or (page.total or 0) > changed):
            # More than a page has changed; how much more is unknown before the read.
            return Estimate(len(page.rows), 2, at_least=True)
        if page.total is not None and page.total < known:
            return Estimate(page.total, 1 + count_pages(page.total, size), then_whole=True)
        return Estimate(len(page.rows), 1)


def count_pages(rows: int, size: int) -> int:
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
