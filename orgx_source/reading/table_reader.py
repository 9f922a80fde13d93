"""One table in one run: which route, how much of it, what is gone, and where the next run begins.

How a list is read is the reader's work, what is new in it the changes' work, how dlt gets it the source's.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orgx_source.api.envelope import Row
from orgx_source.api.limits import Spending
from orgx_source.api.listing import ListingReport, Position
from orgx_source.api.route_choice import CLOSED_STATUSES, choose_routes, none_is_open
from orgx_source.api.route_reader import RouteReader, row_keys
from orgx_source.api.routes import ROUTES, Route
from orgx_source.errors import ApiError, OrgxError
from orgx_source.reading.changes import Changes, Versions
from orgx_source.reading.session import ReadSession
from orgx_source.reading.table_state import Origin, Resume, TableState
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.rows.known_rows import KnownRow
from orgx_source.tables import ColumnType, Table
from orgx_source.times import never_before
from orgx_source.warehouse.dataset import Warehouse

logger = logging.getLogger(__name__)

# Arrow's cost per array is the same for one row and for a thousand: pages are shaped many at a time.
ROWS_AT_ONCE = 1_000
BATCH_ROWS = 20_000
# Refuse to believe that this much of a table vanished at once, unless the read of a later run agrees.
IMPLAUSIBLE_SHARE = 0.3
IMPLAUSIBLE_ROWS = 20
VANISHED_SAMPLE = 100
# Candidates for deletion that wait for the end of a read in several runs; more are left to the next whole read.
CANDIDATES_MOST = 5_000
# A read of changes that was cut short after so many pages is followed by a whole read, which can be resumed.
CUT_SHORT_PAGES = 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Something to write.

    Attributes:
        rows: An Arrow table.
        history: Whether it belongs into the history of the table.
        undeclared: Types of the columns that are not declared.
    """

    rows: pa.Table
    history: bool
    undeclared: dict[str, ColumnType]


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a read begins.

    Attributes:
        watermark: Only what changed since is read; None reads the whole table.
        offset: Rows that an earlier read, which was cut short, has read already.
        because: Why.
    """

    watermark: datetime | None
    offset: int
    because: str


class TableReader:
    """Reads one table in one run, in one stretch or several.

    Iterate over `pieces` in each stretch; ``finished`` says whether there is another one.
    """

    def __init__(self, session: ReadSession, table: Table, warehouse: Warehouse, types: ColumnTypes) -> None:
        """Prepare; nothing is asked.

        Args:
            session: What the tables of the run share.
            table: The table.
            warehouse: Where it is kept.
            types: The types of its columns.
        """
        self.finished = False
        self._session = session
        self._config = session.config
        self._table = table
        self._warehouse = warehouse
        self._types = types
        self._report = session.report(table.name)
        self._keys = row_keys(table)
        self._remember({}, "")
        self._pages_before = 0
        self._size = 0
        self._pages = 0
        self._in_sight: set[str] = set()
        self._newest: datetime | None = None
        self._spending = Spending()
        self._resumed: Resume | None = None
        self._items = self._read()

    def pieces(self, state: dict[str, Any], load_id: str) -> Iterator[Piece]:
        """Yield what is to be written in this stretch.

        Args:
            state: What the table remembers from run to run; changed in place.
            load_id: The load that will write it.

        Raises:
            OrgxError: No route could serve the table, or the read failed on the way.
        """
        self._remember(state, load_id)
        self._pages_before, self._size = self._pages, 0
        try:
            for piece in self._items:
                if piece is None:
                    return
                yield piece
            self.finished = True
        except BaseException:
            self.finished = True
            raise
        finally:
            self._report.requests = self._spending.requests
            self._report.retries = self._spending.retries
            self._report.waited_seconds = round(self._spending.waited_seconds, 3)

    def _remember(self, state: dict[str, Any], load_id: str) -> None:
        self._state, self._load_id = TableState(state, load_id, self._warehouse.has_load), load_id

    def close(self) -> None:
        """Give up what was not read."""
        self._items.close()

    def _read(self) -> Generator[Piece | None, None, None]:
        """Yield pieces, and None where a stretch ends."""
        self._prepare()
        self._report.cursor_before = _iso(self._state.cursor)
        for table in self._changes.missing_history():
            yield self._piece([table], history=True)
        refusal: ApiError | None = None
        for route in choose_routes(self._table.name, self._config.routes):
            self._report.route = route.name
            try:
                yield from self._read_route(route)
                return
            except ApiError as error:
                if error.status not in CLOSED_STATUSES:
                    raise
                logger.warning("%s: %s; trying the next route", self._table.name, error)
                self._report.closed_routes.append(f"{route.name} ({error.status})")
                refusal = error
        self._report.route = None
        raise none_is_open(self._table.name, self._report.closed_routes, refusal)

    def _prepare(self) -> None:
        workspace = self._session.workspace()
        self._workspace_id = self._config.workspace_id or str(workspace["id"])
        self._own_workspace = str(workspace["id"])
        self._started = never_before(self._session.clock(), self._state.read_at)
        self._started_at_orgx = self._session.orgx_time()
        self._changes = Changes(self._table, self._warehouse, self._types, self._session.clock)

    def _read_route(self, route: Route) -> Iterator[Piece | None]:
        # The first route of a table tells all there is; the others only a part of each row.
        self._narrow = route is not ROUTES[self._table.name][0] and self._warehouse.can_be_asked
        self._resumed = self._resume_point(route)
        watermark = None if self._resumed else self._watermark(route)[0]
        whole_at = self._started
        doubtful: ListingReport | None = None
        if self._resumed is not None:
            logger.info("%s: going on where the last whole read stopped", self._table.name)
            self._report.resumed = True
            resumed, whole_at = self._resumed, self._resumed.began_at
            reader = self._reader(route)
            yield from self._pass(reader, None, resumed.position)
            if reader.report.order_obeyed:
                yield from self._deletions(reader)
                self._settle(route, cursor=resumed.started, whole_at=whole_at)
                # What changed behind the place where it stopped, since it began.
                watermark = resumed.started - self._config.overlap
                doubtful = reader.report if reader.report.reasons else None
            self._resumed = None
        reader = self._reader(route)
        yield from self._pass(reader, watermark)
        whole = watermark is None or not reader.report.stopped_early
        if not whole and not self._adds_up(reader):
            # The counts differ: something was deleted, or slipped behind the cursor. Read everything.
            logger.info("%s: OrgX counts otherwise than the warehouse, reading the whole table", self._table.name)
            reader, whole_at = self._reader(route), self._started
            yield from self._pass(reader, None)
            whole = True
        if whole:
            yield from self._deletions(reader)
        elif doubtful is not None:
            # What is not certain of the read that went on is not certain of the table.
            for reason in doubtful.reasons:
                reader.report.miss(reason)
            reader.report.verdict = "uncertified"
            reader.report.nameless = doubtful.nameless
        self._finish(route, reader, whole=whole, whole_at=whole_at)

    def _reader(self, route: Route) -> RouteReader:
        return self._session.route_reader(self._table, route, self._spending)

    # -- where to begin ------------------------------------------------------------------------------------------

    def plan(self, state: dict[str, Any], route: Route) -> Beginning:
        """Return how a run would begin to read the table from a route; nothing is asked of OrgX but the workspace.

        Args:
            state: What the table remembers from run to run.
            route: The route that is open.
        """
        self._remember(state, "")
        self._prepare()
        resumed = self._resume_point(route)
        if resumed is not None:
            return Beginning(None, resumed.position.offset, "the last whole read was cut short")
        watermark, because = self._watermark(route)
        return Beginning(watermark, 0, because)

    @property
    def living(self) -> int:
        """Return how many rows the warehouse holds, as far as is known, that are not marked as deleted."""
        return self._changes.known.count_living()

    def _watermark(self, route: Route) -> tuple[datetime | None, str]:
        """Return the time after which rows must be read, or None to read the whole table, and why."""
        cursor, whole_at = self._state.cursor, self._state.whole_read_at
        if not self._warehouse.can_be_asked:
            return None, "the destination cannot be asked what it holds"
        if self._config.full:
            return None, "everything was asked for"
        if not (route.sorts or route.paging in ("feed", "cursor")):
            return None, "the route cannot tell what changed"
        if cursor is None or whole_at is None or not self._changes.known:
            return None, "no whole read of it is known"
        if self._state.was_cut_short:
            return None, "a long read of changes was cut short"
        if not self._state.is_of(self._origin(route)):
            return None, "the last read was of another route or workspace, or what it read is not in the warehouse"
        age = self._started - whole_at
        if not self._table.append_only and age >= self._config.full_every:
            return None, f"the last whole read is {age / timedelta(days=1):.1f} days old"
        return cursor - self._config.overlap, f"what changed since {cursor - self._config.overlap:%Y-%m-%d %H:%M} UTC"

    def _resume_point(self, route: Route) -> Resume | None:
        """Return where a whole read that was cut short goes on, if there is such a place."""
        return self._state.resume(self._origin(route), full=self._config.full) if self._warehouse.can_be_asked else None

    # -- reading -------------------------------------------------------------------------------------------------

    def _pass(
        self, reader: RouteReader, watermark: datetime | None, resume: Position | None = None
    ) -> Iterator[Piece | None]:
        """Read once; yield what is new or changed, in tables of some thousand rows."""
        whole = watermark is None and resume is None
        if whole:
            self._changes.known.forget_seen()
        came: list[Row] = []
        pending: list[Versions] = []
        before = self._pages
        try:
            for rows in reader.rows(watermark, resume):
                came += rows
                self._pages = before + reader.report.pages
                cut = self._session.stretch_is_over(self._pages - self._pages_before, self._size)
                if cut or len(came) >= ROWS_AT_ONCE:
                    pending += self._take(came)
                    came = []
                if self._session.on_progress is not None:
                    rows_so_far = self._changes.known.seen + len(came)
                    self._session.on_progress(self._table.name, self._spending.requests, rows_so_far)
                if cut or sum(piece.rows.num_rows for piece in pending) >= BATCH_ROWS:
                    yield from self._pieces(pending)
                    pending = []
                if cut:
                    self._remember_position(reader, watermark)
                    yield None
        except OrgxError:
            # What came before the failure is true and is kept; the cursor stays where it was.
            yield from self._pieces([*pending, *self._take(came)])
            self._note(reader, before)
            self._remember_position(reader, watermark)
            raise
        yield from self._pieces([*pending, *self._take(came)])
        self._note(reader, before)

    def _note(self, reader: RouteReader, pages_before: int) -> None:
        report, seen = self._report, reader.report
        self._pages = pages_before + seen.pages
        report.pages = self._pages
        report.rows_read = self._changes.known.seen
        report.rows_new, report.rows_changed = self._changes.new, self._changes.changed
        report.duplicates += seen.repeats
        report.seams_repaired += seen.seams_repaired
        report.passes += seen.passes
        if seen.totals is not None:
            lowest, highest = report.total_lowest, report.total_highest
            report.total_lowest = seen.totals[0] if lowest is None else min(lowest, seen.totals[0])
            report.total_highest = seen.totals[1] if highest is None else max(highest, seen.totals[1])

    def _take(self, rows: list[Row]) -> list[Versions]:
        rows = self._session.rows_in_workspace(rows)
        if not rows:
            return []
        shaped = self._changes.shape(rows, narrow=self._narrow)
        if len(set(shaped.ids)) < len(rows):
            # A row that changed while it was read comes twice: two versions, one after the other.
            again = next(i for i, row_id in enumerate(shaped.ids) if row_id in shaped.ids[:i])
            return self._take(rows[:again]) + self._take(rows[again:])
        self._in_sight.update(name for name in shaped.workspaces if name)
        self._newest = max(filter(None, (self._newest, self._newest_of(shaped.rows))), default=None)
        versions = self._changes.take(shaped)
        self._changes.known.see(shaped.ids)
        if versions is None:
            return []
        self._size += versions.rows.nbytes
        return [versions]

    def _newest_of(self, rows: pa.Table) -> datetime | None:
        """Return the time of the latest change: of rows that tell none, when they were made."""
        names = ("updated_at", "timestamp" if self._table.append_only else "created_at")
        # Where such a column is not declared, it is whatever came first: a text, or a number.
        told = [rows.column(name) for name in names if name in rows.column_names and self._types[name] == "timestamp"]
        newest: datetime | None = pc.max(pc.coalesce(*told)).as_py() if told else None
        return newest

    def _pieces(self, versions: Sequence[Versions]) -> Iterator[Piece]:
        if not versions:
            return
        yield self._piece([piece.rows for piece in versions], history=False)
        history = [piece.history for piece in versions if piece.history is not None]
        if history:
            yield self._piece(history, history=True)

    def _piece(self, tables: Sequence[pa.Table], *, history: bool) -> Piece:
        table = pa.concat_tables(tables, promote_options="default")
        undeclared = self._changes.undeclared(table.column_names)
        # dlt adds the load's id to Arrow tables only where a setting says so.
        load_ids = pa.array([self._load_id] * table.num_rows, pa.string())
        return Piece(table.append_column("_dlt_load_id", load_ids), history, undeclared)

    # -- a read in several stretches or runs ----------------------------------------------------------------------

    def _remember_position(self, reader: RouteReader, watermark: datetime | None) -> None:
        """Note how far a whole read has come, so that the next run need not begin anew."""
        if watermark is not None:
            if reader.report.pages > CUT_SHORT_PAGES:
                self._state.cut_short()
            return
        position = reader.position
        if position is None or not self._warehouse.can_be_asked:
            return
        candidates = self._candidates(position)
        place = Resume(
            position,
            started=self._resumed.started if self._resumed else self._started_at_orgx,
            began_at=self._resumed.began_at if self._resumed else self._started,
            candidates=frozenset(candidates if len(candidates) <= CANDIDATES_MOST else ()),
        )
        self._state.keep_place(place, self._origin(reader.route), full=self._config.full)

    def _candidates(self, position: Position | None) -> list[str]:
        """Return the living rows that this read should have met so far and did not."""
        if self._table.append_only:
            return []
        known = self._changes.known
        if known.seen == len(known) or (position is None and not self._resumed):
            return known.unseen()
        begin = self._resumed.position.covered_to if self._resumed else 0.0
        earlier = self._resumed.candidates if self._resumed else frozenset()
        end = position.covered_to if position else datetime(9999, 1, 1, tzinfo=UTC).timestamp()
        due = earlier.union(
            self._warehouse.ids_made_after(
                self._table, self._types, datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC)
            )
        )
        return [row_id for row_id in sorted(due) if known.is_unseen(row_id)]

    # -- deletions -----------------------------------------------------------------------------------------------

    def _adds_up(self, reader: RouteReader) -> bool:
        """Whether OrgX's count equals what the warehouse will hold after this read."""
        totals = reader.report.totals
        if self._table.append_only or totals is None:
            return True
        if reader.report.verdict == "uncertified":
            return False
        if totals[2] == self.living:
            return True
        out_of_sight = sum(not known.deleted and not self._is_in_sight(known) for known in self._changes.known.values())
        self._report.rows_out_of_sight = out_of_sight
        return totals[2] == self.living - out_of_sight

    def _is_in_sight(self, known: KnownRow) -> bool:
        """Whether this run can see the row's workspace: the rows of others are none of its business."""
        if self._config.workspace_id is not None:
            return known.workspace == self._config.workspace_id
        if known.workspace is None or known.workspace in self._in_sight or known.workspace == self._own_workspace:
            return True
        self._in_sight |= self._session.listed_workspaces()
        return known.workspace in self._in_sight

    def _deletions(self, reader: RouteReader) -> Iterator[Piece]:
        """Yield the rows that OrgX no longer lists, marked; only when the read is proof of that."""
        if self._table.append_only or reader.report.verdict not in ("certified", "repaired"):
            return
        known = self._changes.known
        candidates = self._candidates(None)
        gone = [row_id for row_id in candidates if self._is_in_sight(known[row_id]) and self._may_go()]
        self._report.rows_out_of_sight = len(candidates) - len(gone)
        if not gone:
            self._state.vanished = []
            return
        if not self._is_plausible(gone, self.living):
            reader.report.miss(
                f"{len(gone)} of {self.living} rows vanished at once; none was marked as deleted. "
                "If the next run sees the same, it will believe it"
            )
            return
        still_there = reader.find_ids(gone)
        if still_there is None:
            reader.report.miss(f"{len(gone)} rows vanished, but OrgX cannot be asked for them; none was marked")
            return
        gone = [row_id for row_id in gone if row_id not in still_there]
        for versions in self._changes.delete(gone, self._started, self._state.read_at):
            self._report.rows_deleted += versions.rows.num_rows
            yield from self._pieces([versions])

    def _may_go(self) -> bool:
        """Workspaces themselves go only under the key that brought them: another one may see others."""
        return self._table.name != "workspaces" or self._state.home(self._own_workspace) == self._own_workspace

    def _is_plausible(self, gone: list[str], living: int) -> bool:
        nothing_came = not self._changes.known.seen and self._resumed is None
        if not nothing_came and (len(gone) < IMPLAUSIBLE_ROWS or len(gone) <= IMPLAUSIBLE_SHARE * living):
            self._state.vanished = []
            return True
        before = self._state.vanished
        if before and before <= set(gone):
            self._state.vanished = []
            return True
        self._state.vanished = sorted(gone)[:: max(1, len(gone) // VANISHED_SAMPLE)]
        return False

    # -- the end -------------------------------------------------------------------------------------------------

    def _origin(self, route: Route) -> Origin:
        return Origin(route.name, self._workspace_id)

    def _settle(self, route: Route, *, cursor: datetime | None, whole_at: datetime | None) -> None:
        self._state.settle(self._origin(route), cursor=cursor, whole_at=whole_at, home=self._own_workspace)

    def _finish(self, route: Route, reader: RouteReader, *, whole: bool, whole_at: datetime) -> None:
        report, listing = self._report, reader.report
        report.verdict = listing.verdict
        report.reasons += [reason for reason in listing.reasons if reason not in report.reasons]
        report.rows_without_id = listing.nameless
        if report.rows_out_of_sight:
            report.reasons.append(
                f"{report.rows_out_of_sight} rows of workspaces that this run does not see were left as they are"
            )
        report.whole = whole
        report.total_reported = listing.totals[2] if listing.totals and not listing.total_doubtful else None
        if listing.short_by or listing.nameless:
            report.exit_code = 4
        newest = max((moment for moment in (self._state.cursor, self._newest) if moment is not None), default=None)
        proven = whole and listing.verdict != "uncertified"
        if whole and self._state.whole_read_at is None:
            proven = True
        # Never past the start of the read, by whichever clock is behind: what changes meanwhile comes next time.
        bound = min(self._started_at_orgx, self._started)
        self._settle(route, cursor=min(newest, bound) if newest else None, whole_at=whole_at if proven else None)
        self._state.finish(self._started)
        report.cursor_after = _iso(self._state.cursor)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
