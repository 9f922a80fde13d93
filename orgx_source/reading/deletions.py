"""What OrgX no longer lists: whether counts differ, which rows are missing, and whether that is to be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from orgx_source.api.listing import Position, Verdict
from orgx_source.api.route_reader import RouteReader
from orgx_source.reading.changes import Changes
from orgx_source.reading.report import TableReport
from orgx_source.reading.scope import View, may_be_deleted, remembered
from orgx_source.reading.table_state import Resume, TableState
from orgx_source.tables import Table
from orgx_source.warehouse.dataset import Warehouse

# Refuse to believe that this much of a table vanished at once, unless the read of a later run agrees.
IMPLAUSIBLE_SHARE = 0.3
IMPLAUSIBLE_ROWS = 20
VANISHED_SAMPLE = 100
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


def adds_up(total: int | None, verdict: Verdict, living: int, count_out_of_sight: Callable[[], int]) -> bool:
    """Return whether OrgX's count is explained by what the warehouse will hold after a read of changes.

    Args:
        total: What OrgX counts; None when it does not.
        verdict: How sure the read is.
        living: Rows that the warehouse will hold and not call deleted.
        count_out_of_sight: Counts those of them that the run cannot see; asked only where the counts differ.
    """
    if total is None:
        return True
    if verdict == "uncertified":
        return False
    return total == living or total == living - count_out_of_sight()


def doubted(gone: Sequence[str], living: int, before: frozenset[str], *, nothing_came: bool) -> list[str]:
    """Return some of the rows that vanished when it is not to be believed that they did; none when it is.

    Args:
        gone: Ids of the rows that vanished.
        living: How many rows there were.
        before: What was returned after the last whole read.
        nothing_came: Whether this read brought no row at all.
    """
    few = len(gone) < IMPLAUSIBLE_ROWS or len(gone) <= IMPLAUSIBLE_SHARE * living
    if few and not nothing_came:
        return []
    if before and before <= set(gone):
        return []
    return sorted(gone)[:: max(1, len(gone) // VANISHED_SAMPLE)]


class Deletions:
    """Finds the rows of one table that OrgX no longer lists, and marks them."""

    def __init__(self, table: Table, warehouse: Warehouse, changes: Changes, view: View, own_workspace: str) -> None:
        """Prepare; nothing is asked.

        Args:
            table: The table.
            warehouse: Where it is kept.
            changes: What is known of its rows.
            view: What the run sees of it.
            own_workspace: The workspace that the key resolves to.
        """
        self._table = table
        self._warehouse = warehouse
        self._changes = changes
        self._view = view
        self._own_workspace = own_workspace

    def adds_up(self, reader: RouteReader, state: TableState, report: TableReport, *, obeyed: bool) -> bool:
        """Return whether OrgX's count equals what the warehouse will hold after a read of changes.

        Args:
            reader: Has read the changes.
            state: Remembers which rows only an earlier look saw.
            report: Gets the numbers.
            obeyed: Whether OrgX counts what was asked for.
        """
        totals, known = reader.report.totals, self._changes.known

        def count_out_of_sight() -> int:
            hidden = sum(not row.deleted and not self._view.sees(row) for row in known.values())
            report.rows_set_aside = self._view.count_set_aside(known, state.looks)
            report.rows_out_of_sight = hidden + report.rows_set_aside
            return report.rows_out_of_sight

        total = totals[2] if totals and obeyed and not self._table.append_only else None
        return adds_up(total, reader.report.verdict, known.count_living(), count_out_of_sight)

    def candidates(self, position: Position | None, resumed: Resume | None) -> list[str]:
        """Return the living rows that a read should have met so far and did not.

        Args:
            position: How far it has come; None when it has come to its end.
            resumed: Where it began, when that was not at the beginning.
        """
        if self._table.append_only:
            return []
        known = self._changes.known
        if known.seen == len(known) or (position is None and resumed is None):
            return known.unseen()
        begin = resumed.position.covered_to if resumed else 0.0
        earlier = resumed.candidates if resumed else frozenset()  # guard: deletions-before-the-place
        end = END_OF_TIME if position is None else datetime.fromtimestamp(position.covered_to, UTC)
        due = earlier.union(
            self._warehouse.ids_made_after(self._table, self._changes.types, datetime.fromtimestamp(begin, UTC), end)
        )
        return [row_id for row_id in sorted(due) if known.is_unseen(row_id)]

    def gone(self, reader: RouteReader, state: TableState, report: TableReport, resumed: Resume | None) -> list[str]:
        """Return the rows that OrgX no longer lists; none where the read is no proof of that.

        Args:
            reader: Has read the table whole.
            state: Remembers what was not believed.
            report: Gets the numbers.
            resumed: Where it began, when that was not at the beginning.

        Raises:
            OrgxError: OrgX was asked for the rows and failed.
        """
        if self._table.append_only or reader.report.verdict == "uncertified":
            return []
        candidates = self.candidates(None, resumed)
        in_sight = [row_id for row_id in candidates if self._may_go(row_id, state)]
        gone = self._seen_before(in_sight, state)
        report.rows_out_of_sight, report.rows_set_aside = len(candidates) - len(gone), len(in_sight) - len(gone)
        return self._confirmed(gone, reader, state, nothing_came=not self._changes.known.seen and resumed is None)

    def without_given(self, gone: list[str], reader: RouteReader) -> list[str]:
        """Return the rows that can be marked in a load that cannot be divided: not those which it brings itself."""
        kept = [row_id for row_id in gone if not self._changes.known.is_given(row_id)]
        reader.report.miss(
            f"{len(gone) - len(kept)} rows came and went before they could be loaded; the next run marks them"
        )
        return kept

    def _may_go(self, row_id: str, state: TableState) -> bool:
        if not self._view.sees(self._changes.known[row_id]):  # guard: rows-out-of-sight
            return False
        # Workspaces themselves go only under the key that brought them: another one may see others.
        own = self._own_workspace
        return self._table.name != "workspaces" or state.first_workspace(own) == own

    def _seen_before(self, ids: Sequence[str], state: TableState) -> list[str]:
        """Return those of the rows in sight that a read like this one saw before, and remember this one."""
        known, view, before = self._changes.known, self._view, state.looks
        workspaces = {row_id: view.workspace_of(known[row_id]) for row_id in ids}
        gone, aside = may_be_deleted(workspaces.items(), view.look, before, full=view.full)  # guard: rows-set-aside
        # Out of sight by now, or before the place where a read went on: nothing was learnt of these.
        unjudged = (row_id for row_id in before.aside if row_id not in workspaces and known.is_unseen(row_id))
        aside |= {row_id: before.aside[row_id] for row_id in unjudged}
        state.looks = remembered(before, view.look, {None, *view.sight.workspaces, *workspaces.values()}, aside)
        return gone

    def _confirmed(self, gone: list[str], reader: RouteReader, state: TableState, *, nothing_came: bool) -> list[str]:
        """Return those of the rows that are gone indeed, and note why others are not believed to be."""
        if not gone:
            state.vanished = []
            return []
        living = self._changes.known.count_living()
        state.vanished = in_doubt = doubted(gone, living, state.vanished, nothing_came=nothing_came)
        if in_doubt:  # guard: vanished-twice
            reader.report.miss(
                f"{len(gone)} of {living} rows vanished at once; none was marked as deleted. "
                "If the next run sees the same, it will believe it"
            )
            return []
        still_there = self._view.find(gone, reader.find_ids)  # guard: vanished-rows-are-asked-for
        if still_there is None:
            reader.report.miss(f"{len(gone)} rows vanished, but OrgX cannot be asked for them; none was marked")
            return []
        return [row_id for row_id in gone if row_id not in still_there]
