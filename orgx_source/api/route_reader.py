"""Reads one table from one route; returns rows and a verdict. The base of the readers, one for each kind of paging.

A reader neither chooses routes nor keeps state. The first request of a read is a method of its own, used by `check`
and `plan` too.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page, Row
from orgx_source.api.limits import Spending
from orgx_source.api.listing import ListingReport, Order, Position, RowKeys
from orgx_source.api.query import PageQuery, Parent
from orgx_source.api.route_choice import CLOSED_STATUSES
from orgx_source.api.routes import Route
from orgx_source.api.unfold import without_secrets
from orgx_source.errors import ApiError, AuthError, BudgetError, RateLimitError, ServerError
from orgx_source.tables import Table, is_id, spellings
from orgx_source.times import parse_timestamp

logger = logging.getLogger(__name__)

# No maximum is published; 100 is the largest value in OrgX's own schema.
ROWS_ASKED = 100
IDS_AT_ONCE = 100
# Smallest plausible page limit of a server: responses of equal length below it are a coincidence.
SMALLEST_PAGE = 10
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
        answers_ids: Whether OrgX answered the last request for single rows; if not, the list was read a second time.
    """

    has_places = False
    stored: int | None = None
    answers_ids = False

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
                if not is_refusal(refusal):
                    raise
                self._note_refusal("ids", refusal)
                found = None
            self.answers_ids = found is not None
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
                if not is_refusal(refusal):
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


def is_refusal(error: ApiError) -> bool:
    """Whether OrgX refused the query or returned an unknown format; not the key, the rate limit or a failure."""
    return not isinstance(error, AuthError | RateLimitError | ServerError)
