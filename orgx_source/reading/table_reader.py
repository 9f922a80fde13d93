"""Reads one table in one run: chooses route and scope, reads in stretches, and stores the state for the next run.

The route reader reads the list, the intake finds changes, `deletions` finds deleted rows, and the source passes the
rows to dlt.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from datetime import datetime
from typing import Any

from orgx_source.api.limits import Spending
from orgx_source.api.listing import ListingReport, Position
from orgx_source.api.route_choice import closed_note, read_first_open, statuses, tells_all
from orgx_source.api.route_reader import RouteReader
from orgx_source.api.routes import Route
from orgx_source.errors import BudgetError, OrgxError, RouteClosedError
from orgx_source.reading.changes import Changes
from orgx_source.reading.cursor import Beginning, Past, Wishes, begin, end
from orgx_source.reading.deletions import Deletions
from orgx_source.reading.intake import Intake, Piece
from orgx_source.reading.scope import comparable_total
from orgx_source.reading.second_look import SecondLook
from orgx_source.reading.session import ReadSession
from orgx_source.reading.table_state import Origin, Resume, TableState
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.rows.handed import Handed
from orgx_source.rows.row_ids import RowIds
from orgx_source.tables import Table
from orgx_source.times import never_before
from orgx_source.warehouse.arrival import compare
from orgx_source.warehouse.dataset import Warehouse

logger = logging.getLogger(__name__)

# Maximum number of candidates for deletion kept during a read in several runs; more wait for the next full read.
MAX_CANDIDATES = 5_000
# A read of changes interrupted after this many pages is followed by a full read, which can be resumed.
CUT_SHORT_PAGES = 20


class StretchEnd:
    """Marks the point between pieces at which the rows read so far are to be loaded."""


STRETCH_END = StretchEnd()
Step = Piece | StretchEnd


class TableReader:
    """Reads one table in one run, in one or several stretches.

    Iterate over `pieces` in each stretch; ``finished`` is False if there is another one, and ``handed`` is the content
    of the last stretch's load, by the name of the table in the warehouse.
    """

    def __init__(self, session: ReadSession, table: Table, warehouse: Warehouse, types: ColumnTypes) -> None:
        """Prepare; sends no request or query.

        Args:
            session: The shared resources of the run.
            table: The table.
            warehouse: Its warehouse.
            types: The types of its columns.
        """
        self.finished = False
        self.handed: dict[str, Handed] = {}
        self._session = session
        self._config = session.config
        self._table = table
        self._warehouse = warehouse
        self._types = types
        self._report = session.report(table.name)
        self._state = TableState({}, "", warehouse.has_loads)
        self._load_id = ""
        self._pages_before = 0
        self._pages = 0
        self._spending = Spending()
        self._resumed: Resume | None = None
        self._answered: set[str] = set()
        self._steps = self._read()

    def pieces(self, state: dict[str, Any], load_id: str) -> Iterator[Piece]:
        """Yield the pieces of this stretch.

        Args:
            state: The state of the table; changed in place.
            load_id: The load that will write it.

        Raises:
            OrgxError: No route could serve the table, or the read failed.
        """
        self._state, self._load_id = self._open_state(state, load_id), load_id
        self._pages_before = self._pages
        try:
            for step in self._steps:
                if isinstance(step, StretchEnd):
                    return
                yield step
            self.finished = True
        except BaseException:
            self.finished = True
            raise
        finally:
            self._report.note_spending(self._spending)

    def _open_state(self, state: dict[str, Any], load_id: str) -> TableState:
        return TableState(state, load_id, self._warehouse.has_loads, self._session.latest_time())

    @property
    def was_closed(self) -> bool:
        """Return whether no route of an optional table was open."""
        return self._report.note is not None

    def close(self) -> None:
        """Discard the remaining read."""
        self._steps.close()

    def plan(self, state: dict[str, Any], route: Route) -> Beginning:
        """Return how a run would begin to read the table from a route; requests at most the workspace.

        Args:
            state: The state of the table.
            route: The route that is open.
        """
        self._state = self._open_state(state, "")
        self._prepare()
        resumed = self._resume_point(route)
        if resumed is not None:
            return Beginning(None, resumed.position.offset, "the last full read was interrupted")
        return self._begin(route)

    def closed_doors(self, state: dict[str, Any]) -> dict[str, str]:
        """Return the routes of an optional table that a run would skip, name to status.

        Args:
            state: The state of the table.
        """
        if not self._table.optional or self._config.full:
            return {}
        return self._open_state(state, "").closed_doors(self._session.key, self._session.clock())

    @property
    def living(self) -> int:
        """Return the number of known rows in the warehouse that are not marked as deleted."""
        return self._changes.known.count_living()

    # -- the whole of it -----------------------------------------------------------------------------------------

    def _read(self) -> Generator[Step, None, None]:
        self._prepare()
        self._intake.begin(self._load_id)
        self._report.cursor_before = _iso(self._state.cursor)
        yield from self._missing_versions()
        yield from self._single_copies()
        name, routes, closed = self._table.name, self._config.routes, self._report.closed_routes
        try:
            doors, known = self._config.doors, self._closed_doors()
            yield from read_first_open(name, routes, self._read_route, closed, doors, known)
        except RouteClosedError:
            # No route is open: after a refusal, the next route is tried.
            self._report.route = None
            if not self._table.optional:
                raise
            self._note_doors()
            self._report.reasons.clear()
            since = self._state.closed_since(self._session.key)
            self._report.note = closed_note(closed, since)  # guard: optional-tables
        else:
            self._note_doors()

    def _closed_doors(self) -> dict[str, str]:
        """Return the routes of an optional table that refused recently; they are skipped without a request."""
        if not self._table.optional or self._config.full:
            return {}
        return self._state.closed_doors(self._session.key, self._started)  # guard: closed-doors-are-remembered

    def _note_doors(self) -> None:
        if not self._table.optional:
            return
        # What refuses in the middle of a list is open to this key, and is asked again by the next run.
        refused = statuses(self._report.closed_routes).items()
        closed = {name: status for name, status in refused if name not in self._answered}  # guard: open-in-part
        self._state.note_doors(closed, self._session.key, self._started)

    def _missing_versions(self) -> Iterator[Piece]:
        """Yield the version of each stored row that the history lacks."""
        lacking = 0
        for table in self._changes.missing_history():  # guard: history-of-a-lost-load
            lacking += table.num_rows
            yield self._intake.piece([table], history=True)
        # Expected after a load that was not completed.
        if lacking and not self._warehouse.has_unfinished_rows(self._table):
            self._report.mended(f"{lacking} versions were missing from the history and were written again")

    def _single_copies(self) -> Iterator[Piece]:
        """Yield one copy of each duplicate row, to replace all its copies."""
        for table in self._changes.single_copies():  # guard: rows-that-stand-twice
            yield self._intake.piece([table], replaces=True)
        if doubled := len(self._changes.known.doubled):
            self._report.mended(f"{doubled} rows were in the table more than once; the newest copy of each is kept")

    def _single_versions(self) -> Iterator[Piece]:
        """Yield one copy of each duplicate version in the history."""
        doubled = 0
        for table in self._warehouse.doubled_versions(self._table, self._types):  # guard: versions-that-stand-twice
            doubled += table.num_rows
            yield self._intake.piece([table], history=True, replaces=True)
        if doubled:
            self._report.mended(f"{doubled} versions were in the history more than once; one copy of each is kept")

    def _prepare(self) -> None:
        own = str(self._session.check_workspace()["id"])
        self._own_workspace = own
        self._workspace_id = self._config.workspace_id or own
        self._started = never_before(self._session.clock(), self._state.read_at)
        self._started_at_orgx = self._session.orgx_time()
        self._can_wait = self._session.stretch is not None
        self._changes = Changes(self._table, self._warehouse, self._types, self._session.clock, once=self._can_wait)
        self._changes.believed = self._state.older
        if self._table.name in self._session.emptied:
            self._state.forget_origin()
            self._changes.distrust_table()
        if any(compare(self._warehouse, *self._state.take_handed())):
            # Loaded by a user's own pipeline, which does not verify its loads.
            self._state.forget_origin()
            self._report.mended("part of the last load was missing; the table was read in full")
        known = self._changes.known
        self._ids_home = self._state.ids_home(self._workspace_id) if known else self._workspace_id
        view = self._session.view(self._table, self._ids_home, known)
        self._intake = Intake(
            self._table, self._changes, view.sight, self._config.workspace_id, view.local, self.handed
        )
        self._deletions = Deletions(self._table, self._warehouse, self._changes, view, own, self._started_at_orgx)
        self._second_look = SecondLook(
            self._table, self._session, self._changes, self._intake, self._deletions, self._report
        )

    def _read_route(self, route: Route) -> Iterator[Step]:
        self._report.route, came_from = route.name, self._state.route
        self._intake.partial = not tells_all(self._table.name, route) and self._warehouse.can_be_asked
        self._resumed = self._resume_point(route)
        whole_at, doubtful = self._started, None
        beginning = self._begin(route)
        watermark = None if self._resumed else beginning.watermark
        if watermark is None or self._changes.were_in_doubt:
            yield from self._single_versions()
        if self._resumed is not None:
            resumed, whole_at = self._resumed, self._resumed.began_at
            reader = self._open(route)
            yield from self._go_on(reader, resumed)
            if reader.report.order_obeyed and not route.tells_changes:
                self._resumed = None
                reader.report.miss(
                    f"part of the list was read in an earlier run, at {resumed.began_at:%Y-%m-%d %H:%M} UTC, and the "
                    "route does not list changes: edits since then to those rows arrive with the next full read"
                )
                yield from self._second_look.ask_for_newer(reader, self._state)
                self._finish(reader, whole_at=whole_at)
                return
            if reader.report.order_obeyed:
                # Changes since its start in the part already read.
                watermark = resumed.started - self._config.overlap  # guard: changes-behind-a-resumed-read
                doubtful = reader.report if reader.report.reasons else None
            self._resumed = None
        elif watermark is None:
            self._state.begin_anew()
        reader = self._open(route)
        yield from self._pass(reader, watermark)
        whole = watermark is None or not reader.report.stopped_early
        obeyed = self._filter_is_obeyed(route) and not self._state.doors_apart
        if not whole and (why := (yield from self._second_look.why_not_enough(reader, self._state, obeyed=obeyed))):
            logger.info("%s: %s, reading the table in full", self._table.name, why)
            reader, whole_at, whole = self._open(route), self._started, True
            self._state.begin_anew()
            yield from self._pass(reader, None)
        yield from self._second_look.ask_for_newer(reader, self._state)
        if whole:
            yield from self._mark_deleted(reader, came_from)
        elif doubtful is not None:
            _add_doubts(reader.report, doubtful)
        if beginning.looks_back or (whole and self._table.append_only):
            self._state.note_look_back(self._started)
        self._finish(reader, whole_at=whole_at if whole else None)

    def _open(self, route: Route) -> RouteReader:
        reader = self._session.open_route(self._table, route, self._spending)
        reader.stored = self._changes.known.count_living()
        return reader

    def _go_on(self, reader: RouteReader, resumed: Resume) -> Iterator[Step]:
        """Finish an interrupted full read."""
        logger.info("%s: continuing the interrupted full read", self._table.name)
        self._report.resumed = True
        yield from self._pass(reader, None, resumed.position)
        if reader.report.order_obeyed:
            yield from self._mark_deleted(reader)
            self._settle(reader.route, cursor=resumed.started, whole_at=resumed.began_at)

    def _are_apart(self, reader: RouteReader, before: str | None) -> bool:
        """Return whether this route's rows have no ids in common with those of another one, and record it.

        It is not documented whether two routes of an optional table use the same ids; only the rows show it. More new
        rows than a route lists look the same, until one read meets both.
        """
        known, state = self._changes.known, self._state
        if state.doors_apart:
            return not state.doors_meet(known.is_seen)  # guard: doors-that-meet
        if not self._table.optional or before in (None, reader.route.name):
            return False
        if not known.seen or known.seen != self._changes.new or not (unmet := known.unseen()):
            return False
        state.note_doors_apart(unmet, [row_id for row_id in known if known.is_seen(row_id)])
        return True

    def _note_apart(self, reader: RouteReader, before: str | None) -> bool:
        if apart := self._are_apart(reader, before):  # guard: ids-of-two-doors
            reader.report.miss("rows of two routes have no ids in common; both are kept, and none counts as deleted")
        return apart

    def _mark_deleted(self, reader: RouteReader, came_from: str | None = None) -> Iterator[Step]:
        if self._note_apart(reader, came_from):
            return
        gone = self._deletions.gone(reader, self._state, self._report, self._resumed)
        if any(map(self._changes.known.is_given, gone)):
            # Rows of this load are not in the warehouse yet, from which a deletion takes the values.
            if self._can_wait:
                yield from self._next_stretch(reader, None)
            else:
                gone = self._deletions.without_given(gone, reader)
        for batch in self._changes.delete(gone, self._started, self._state.read_at):
            self._report.rows_deleted += batch.rows.num_rows
            yield from self._intake.pieces([batch])

    # -- one pass ------------------------------------------------------------------------------------------------

    def _pass(self, reader: RouteReader, watermark: datetime | None, resume: Position | None = None) -> Iterator[Step]:
        """Read once; yield new and changed rows, in tables of some thousand rows."""
        if watermark is None and resume is None:
            self._changes.known.forget_seen()
            self._intake.foreign = RowIds()
        self._changes.begin_pass(watermark)
        before = self._pages
        try:
            for rows in reader.rows(watermark, resume):
                yield from self._intake.gather(rows)
                self._pages = before + reader.report.pages
                self._session.note_progress(self._table.name, self._spending.requests, self._intake.rows_met)
                if self._session.stretch_is_over(self._pages - self._pages_before, self._intake.size):
                    yield from self._intake.flush()
                    yield from self._next_stretch(reader, watermark)
        except OrgxError as error:
            # Rows received before the failure are valid and kept; the cursor does not move.
            yield from self._intake.flush()
            if reader.report.pages:
                self._answered.add(reader.route.name)
            self._note(reader, before)
            self._remember_position(reader, watermark)
            if watermark is not None and isinstance(error, BudgetError):
                self._state.cut_short(long=False)  # guard: budget-that-is-too-small
            raise
        yield from self._intake.flush()
        while self._intake.has_waiting:
            yield from self._next_stretch(reader, watermark)
            yield from self._intake.flush()
        self._note(reader, before)
        self._note_order(reader, whole=watermark is None)

    def _note_order(self, reader: RouteReader, *, whole: bool) -> None:
        """Record whether the route kept the requested order: one page out of order is enough for no."""
        obeyed = reader.report.order_obeyed
        if obeyed is False or (whole and reader.report.order_shown):
            self._state.note_order(reader.route.name, obeyed)  # guard: order-that-was-not-kept

    def _next_stretch(self, reader: RouteReader, watermark: datetime | None) -> Iterator[StretchEnd]:
        self._remember_position(reader, watermark)
        yield STRETCH_END
        self._intake.begin(self._load_id)

    def _note(self, reader: RouteReader, pages_before: int) -> None:
        self._pages = pages_before + reader.report.pages
        self._report.note_listing(reader.report, pages=self._pages)
        self._report.rows_read = self._changes.known.seen
        self._report.rows_new, self._report.rows_changed = self._changes.new, self._changes.changed

    # -- where it begins, and where the next one will ------------------------------------------------------------

    def _begin(self, route: Route) -> Beginning:
        wishes = Wishes(
            can_be_asked=self._warehouse.can_be_asked,
            tells_changes=route.tells_changes,
            full=self._config.full,
            full_every=None if self._table.append_only else self._config.full_every,
            overlap=self._config.overlap,
            keeps_order=self._state.orders(route.name),
            is_feed=self._table.append_only,
        )
        past = Past(
            self._state.cursor,
            self._state.whole_read_at,
            was_cut_short=self._state.was_cut_short,
            is_of_origin=self._state.is_of(self._origin(route)),
            has_rows=bool(self._changes.known),
            is_doubted=self._state.doubt is not None,
            looked_back_at=self._state.looked_back_at,
            left_gap=self._state.left_gap,
        )
        return begin(past, wishes, self._started)

    def _resume_point(self, route: Route) -> Resume | None:
        """Return the position of an interrupted full read, if there is one."""
        return self._state.resume(self._origin(route), full=self._config.full) if self._warehouse.can_be_asked else None

    def _remember_position(self, reader: RouteReader, watermark: datetime | None) -> None:
        """Record the position of a full read, so that the next run can continue it."""
        if watermark is not None:
            if reader.report.pages > CUT_SHORT_PAGES:
                self._state.cut_short(long=True)
            return
        position = reader.position
        if position is None or not self._warehouse.can_be_asked:
            return
        candidates = self._deletions.candidates(position, self._resumed)
        place = Resume(
            position,
            started=self._resumed.started if self._resumed else self._started_at_orgx,
            began_at=self._resumed.began_at if self._resumed else self._started,
            candidates=frozenset(candidates if len(candidates) <= MAX_CANDIDATES else ()),
        )
        self._state.keep_place(place, self._origin(reader.route), full=self._config.full)

    def _origin(self, route: Route) -> Origin:
        filtered = self._config.workspace_id is not None
        return Origin(route.name, self._workspace_id, filtered, self._session.key)

    def _settle(self, route: Route, *, cursor: datetime | None, whole_at: datetime | None) -> None:
        own = self._own_workspace
        if self._table.local_ids:
            self._state.keep_ids_home(self._ids_home)
        self._state.settle(self._origin(route), cursor=cursor, whole_at=whole_at, first_workspace=own)

    def _adds_up(self, reader: RouteReader) -> bool:
        obeyed = self._filter_is_obeyed(reader.route)
        return self._deletions.adds_up(reader, self._state, self._report, obeyed=obeyed)

    def _filter_is_obeyed(self, route: Route) -> bool:
        """Return whether OrgX obeys the workspace filter, according to this read and the last one."""
        known = self._state.obeys_filter or not self._state.is_of(self._origin(route))
        return known and not self._intake.foreign

    def _note_scope(self, reader: RouteReader, *, whole: bool) -> bool:
        """Record whether OrgX obeys the workspace filter, and return it."""
        foreign = len(self._intake.foreign)
        obeyed = not foreign if whole else self._filter_is_obeyed(reader.route)
        self._state.obeys_filter = obeyed
        if not obeyed and whole:
            self._report.reasons.append(
                f"OrgX sent {foreign} rows of workspaces other than the requested one; they were skipped"
            )
        elif not obeyed:
            reader.report.miss(
                "OrgX counts rows of workspaces other than the requested one: only a full read can be compared"
            )
        if whole and not self._changes.known.seen and (doubt := self._session.workspace_doubt()):
            reader.report.miss(doubt)
        return obeyed

    def _finish(self, reader: RouteReader, *, whole_at: datetime | None) -> None:
        # Never past the start of the read by the slower clock: changes during the read are read next time.
        bound = min(self._started_at_orgx, self._started)
        past = Past(self._state.cursor, self._state.whole_read_at)
        whole = whole_at is not None
        if whole and self._table.append_only:
            self._state.left_gap = reader.report.gap
        obeyed = self._note_scope(reader, whole=whole)
        ending = end(reader.report, past, self._intake.newest, whole_at=whole_at, bound=bound)
        total = (
            None
            if self._state.doors_apart
            else comparable_total(ending.total, len(self._intake.foreign), whole=whole, obeyed=obeyed)
        )
        self._report.note_ending(reader.report, total=total, whole=whole)
        self._report.reasons += [
            f"the column {name} was added by someone else with a different type; OrgX's values go to {name}__v_text"
            for name in self._types.newly_beside
        ]
        self._report.proof = self._proof(whole_at=whole_at, counted=total is not None)
        self._report.exit_code = ending.exit_code or self._report.exit_code
        self._settle(reader.route, cursor=ending.cursor, whole_at=ending.whole_at)
        self._state.finish(self._started)
        self._report.cursor_after = _iso(self._state.cursor)

    def _proof(self, *, whole_at: datetime | None, counted: bool) -> str:
        """Return the evidence for the verdict."""
        whole = whole_at is not None
        parts = ["every row was read" if whole else "all changes since the last run were read"]
        if whole_at is not None and whole_at != self._started:
            parts[0] += f" in more than one run, the first at {whole_at:%Y-%m-%d %H:%M} UTC"
        if counted and not self._table.append_only:
            parts.append("the row counts of OrgX and the warehouse are equal")
        if self._state.left_gap and not whole:
            parts.append("events older than those of the first read were not available")
        if self._second_look.sampled and not whole:
            parts.append(f"{self._second_look.sampled} old rows were compared")
        return "; ".join(parts)


def _add_doubts(report: ListingReport, earlier: ListingReport) -> None:
    """Add the reasons of the first pass to those of the second: both apply to the table."""
    for reason in earlier.reasons:
        report.miss(reason, gap=earlier.gap)
    report.rows_without_id = earlier.rows_without_id


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
