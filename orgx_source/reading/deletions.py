"""Detects deletions: compares counts, finds missing rows, and decides whether they count as deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf

from orgx_source.api.listing import ListingReport, Position
from orgx_source.api.route_reader import RouteReader
from orgx_source.api.routes import Route
from orgx_source.reading.changes import Changes
from orgx_source.reading.doubts import Doubt, are_few, weigh
from orgx_source.reading.report import TableReport
from orgx_source.reading.scope import NOBODY, Looks, View, may_be_deleted, remembered
from orgx_source.reading.table_state import Resume, TableState
from orgx_source.tables import Table
from orgx_source.warehouse.dataset import Warehouse

# How far a replica that serves the request may lag behind the database.
REPLICA_LAG = timedelta(hours=6)
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


def adds_up(total: int | None, living: int, count_out_of_sight: Callable[[], int], *, gap: bool) -> bool:
    """Return whether OrgX's total matches the warehouse after a read of changes.

    Args:
        total: OrgX's total; None if there is none.
        living: Rows that the warehouse will have, not counting deleted ones.
        count_out_of_sight: Counts those of them that are not visible to the run; called only if the counts differ.
        gap: Whether rows may be missing from the read.
    """
    if gap or total is None:
        return not gap
    return total == living or total == living - count_out_of_sight()


class Deletions:
    """Finds the rows of one table that OrgX no longer lists, and marks them."""

    def __init__(
        self, table: Table, warehouse: Warehouse, changes: Changes, view: View, own_workspace: str, now: datetime
    ) -> None:
        """Prepare; sends no request or query.

        Args:
            table: The table.
            warehouse: Its warehouse.
            changes: Its known rows.
            view: The part of it that is visible to the run.
            own_workspace: The workspace that the key resolves to.
            now: Start of the run.
        """
        self._table = table
        self._warehouse = warehouse
        self._changes = changes
        self._view = view
        self._own_workspace = own_workspace
        self._now = now
        self._recent = (now - REPLICA_LAG).timestamp()

    def adds_up(self, reader: RouteReader, state: TableState, report: TableReport, *, obeyed: bool) -> bool:
        """Return whether OrgX's total equals the rows that the warehouse will have after a read of changes.

        Args:
            reader: The reader, after reading the changes.
            state: Stores which rows only an earlier look saw.
            report: Receives the numbers.
            obeyed: Whether OrgX's total obeys the workspace filter.
        """
        totals, known = reader.report.totals, self._changes.known

        def count_out_of_sight() -> int:
            hidden = sum(not row.deleted and not self._view.sees(row) for row in known.values())
            report.rows_set_aside = self._view.count_set_aside(known, state.looks)
            report.rows_out_of_sight = hidden + report.rows_set_aside
            return report.rows_out_of_sight

        if self._table.append_only:
            return True
        total = totals[2] if totals and obeyed else None
        return adds_up(total, known.count_living(), count_out_of_sight, gap=reader.report.gap)

    def sees(self, row_id: str) -> bool:
        """Return whether a known row would be visible to the run if OrgX still lists it."""
        return self._view.sees(self._changes.known[row_id])

    def candidates(self, position: Position | None, resumed: Resume | None) -> list[str]:
        """Return the living rows that a read should have met so far but did not.

        Args:
            position: Its position; None at the end.
            resumed: Its start, if not at the beginning.
        """
        if self._table.append_only:
            return []
        known = self._changes.known
        if known.seen == len(known) or (position is None and resumed is None):
            return known.unseen()
        before = resumed.position if resumed else None
        place = position or (before and replace(before, covered_to=inf))
        assert place is not None
        earlier = resumed.candidates if resumed else frozenset()  # guard: deletions-before-the-place
        due = earlier.union(self.made_between(*place.made_between(before)))
        if position is None and place.head is not None:
            # The head is read again at the end.
            due |= self.made_between(-place.head, inf)  # guard: deletions-before-the-head
        if place.workspace is not None:
            # Times give the position in one list only; the lists before it have been read in full.
            due |= {row_id for row_id in known.unseen() if self._is_before(row_id, place)}
        unseen = (row_id for row_id in sorted(due) if known.is_unseen(row_id))
        return [row_id for row_id in unseen if row_id in earlier or not self._is_before(row_id, before)]

    def made_between(self, begin: float, end: float) -> set[str]:
        """Return the ids of stored living rows created between two times, in Unix seconds."""
        bounds = _moment(begin), _moment(end)
        return set(self._warehouse.ids_made_after(self._table, self._changes.types, *bounds))

    def _is_before(self, row_id: str, place: Position | None) -> bool:
        """Return whether a row belongs to a list that was finished before the list of the position began."""
        if place is None or place.workspace is None:
            return False
        workspace = self._view.workspace_of(self._changes.known[row_id]) or self._own_workspace
        first = place.met or (self._own_workspace.casefold(),)
        return workspace.casefold() in first or workspace < place.workspace  # guard: lists-that-were-read

    def gone(self, reader: RouteReader, state: TableState, report: TableReport, resumed: Resume | None) -> list[str]:
        """Return the rows that OrgX no longer lists; none if the read does not prove it.

        Args:
            reader: The reader, after a full read.
            state: Stores the doubts.
            report: Receives the numbers.
            resumed: Its start, if not at the beginning.

        Raises:
            OrgxError: The request for the rows failed.
        """
        if self._table.append_only or not is_proof(reader.report, reader.route):
            return []
        known, candidates = self._changes.known, self.candidates(None, resumed)
        in_sight = [row_id for row_id in candidates if self._view.sees(known[row_id])]  # guard: rows-out-of-sight
        gone = self._seen_before(in_sight, state)
        report.rows_out_of_sight, report.rows_set_aside = len(candidates) - len(gone), len(in_sight) - len(gone)
        return self._confirmed(gone, reader, state)

    def without_given(self, gone: list[str], reader: RouteReader) -> list[str]:
        """Return the rows that can be marked in a load that cannot be divided: not those in the same load."""
        kept = [row_id for row_id in gone if not self._changes.known.is_given(row_id)]
        reader.report.miss(
            f"{len(gone) - len(kept)} rows were deleted before they could be loaded; the next run marks them"
        )
        return kept

    def _seen_before(self, ids: Sequence[str], state: TableState) -> list[str]:
        """Return the visible rows that a comparable read saw before, and record this read."""
        known, view, before, own = self._changes.known, self._view, state.looks, self._own_workspace
        if self._table.name == "workspaces" and not before.last and state.first_workspace(own) != own:
            # Earlier versions did not store keys; a different key may see other workspaces.
            before = Looks({"": NOBODY})
        workspaces = {row_id: view.workspace_of(known[row_id]) for row_id in ids}
        gone, aside = may_be_deleted(workspaces.items(), view.look, before, full=view.full)  # guard: rows-set-aside
        # No longer visible, or before the start of a resumed read: nothing is known about these.
        unjudged = (row_id for row_id in before.aside if row_id not in workspaces and known.is_unseen(row_id))
        aside |= {row_id: before.aside[row_id] for row_id in unjudged}
        state.looks = remembered(before, view.look, {None, *view.sight.workspaces, *workspaces.values()}, aside)
        return gone

    def _confirmed(self, gone: list[str], reader: RouteReader, state: TableState) -> list[str]:
        """Return the rows that count as deleted, and record why the others do not."""
        before, suspicion = state.doubt, self._suspicion(gone, reader, state)
        living = self._changes.known.count_living()
        seen = Doubt(self._now.isoformat(), len(gone), living, tuple(gone), reader.route.name, self._view.look.key)
        state.doubt = doubt = weigh(seen, before, gone, suspect=suspicion is not None)
        if doubt is not None:  # guard: vanished-twice
            reader.report.miss(_sentence(doubt, suspicion))
            return []
        still_there = self._view.find(gone, reader.find_ids) if gone else set()  # guard: vanished-rows-are-asked-for
        missing = [row_id for row_id in gone if row_id not in (still_there or ())]
        # A server that leaves rows out of a list does so in a second read of it too.
        seen_only_here = before is None or not before.is_seen_again_in(seen)
        is_certain = still_there is not None and (reader.answers_ids or are_few(len(missing), living))
        if missing and seen_only_here and not is_certain:  # guard: vanished-rows-without-ids
            state.doubt = seen
            reader.report.miss(_sentence(seen, "they cannot be requested by id"))
            return []
        return missing

    def _suspicion(self, gone: Sequence[str], reader: RouteReader, state: TableState) -> str | None:
        """Return why a read with missing rows is suspect, however few they are; None if it is not."""
        if reader.report.verdict == "uncertified":
            return "the read is uncertified"
        if self._changes.met_older:
            return "rows came in older versions than the stored ones"
        if self._are_too_new(gone, state.read_at):  # guard: rows-too-new-to-be-gone
            return "they changed more recently than any row received, and only one run has missed them"
        return None

    def _are_too_new(self, gone: Sequence[str], last_read: datetime | None) -> bool:
        """Return whether some of the rows are those that a lagging replica would lack."""
        newest = self._changes.newest_met
        if newest is None or last_read is None:
            return False
        since = max(newest, self._recent)
        late = [row_id for row_id in gone if (self._changes.known[row_id].updated or since) > since]
        stored = self._warehouse.fetch_rows(self._table, late, self._changes.types)
        return any(moment >= last_read for rows in stored for moment in rows.column("last_changed_at").to_pylist())


def _moment(seconds: float) -> datetime:
    return END_OF_TIME if seconds == inf else datetime.fromtimestamp(max(0.0, seconds), UTC)


def is_proof(report: ListingReport, route: Route) -> bool:
    """Return whether a full read can prove deletions: it ended, left no gap, and the route lists all rows."""
    return report.finished and not report.gap and route.caveat is None


def _sentence(doubt: Doubt, suspicion: str | None) -> str:
    what = f"{doubt.count} of {doubt.living} rows disappeared at once"
    why = "" if suspicion is None else f", and {suspicion}"
    return f"{what}{why}; none was marked as deleted. The next run marks them if they are still missing"
