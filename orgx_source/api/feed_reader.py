"""Reads a feed of events: the newest ones, in larger responses until one holds everything requested."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import datetime

from orgx_source.api.envelope import Page, Row
from orgx_source.api.limits import Spending
from orgx_source.api.listing import Position
from orgx_source.api.plain_readers import PlainReader
from orgx_source.api.query import PageQuery
from orgx_source.api.route_reader import IDS_AT_ONCE, Access
from orgx_source.api.routes import Route
from orgx_source.tables import Table
from orgx_source.times import utc_now

EVENTS_ASKED = 1000
# Maximum number of events to request at once.
MAX_EVENTS = 100_000


class FeedReader(PlainReader):
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
