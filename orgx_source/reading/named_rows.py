"""Rows of one table requested by id, for a load.

Replaces a `TableReader` in a load for events: it moves no cursor, does not change the table's state and marks nothing
as deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from orgx_source.api.envelope import Row
from orgx_source.api.route_choice import ask_first_open, tells_all
from orgx_source.api.route_reader import QUESTION_STATUSES, SMALLEST_PAGE, RouteReader, row_keys
from orgx_source.api.routes import Route
from orgx_source.reading.changes import Changes
from orgx_source.reading.intake import Intake, Piece
from orgx_source.reading.session import ReadSession
from orgx_source.reading.table_state import TableState
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.rows.handed import Handed
from orgx_source.tables import Table
from orgx_source.warehouse.dataset import Warehouse


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows that OrgX returned for events.

    Attributes:
        route: The route that was used.
        rows: The rows, each id once.
        takes_ids: Whether the route can return single rows; a snapshot always returns all of them.
    """

    route: Route
    rows: list[Row]
    takes_ids: bool = True


def ask_for_rows(session: ReadSession, table: Table, ids: Sequence[str]) -> Answer:
    """Request rows by id, or the whole snapshot if the table is one.

    Raises:
        RouteClosedError: No route of the table is open.
        OrgxError: From the client.
    """

    def ask(route: Route) -> Answer:
        reader = session.open_route(table, route)
        if route.paging == "snapshot":
            return Answer(route, _each_once(table, [row for rows in reader.rows() for row in rows]))
        rows = _each_once(table, list(_find(reader, table, ids)))
        refusal = reader.last_refusal
        if refusal is not None and refusal.status not in QUESTION_STATUSES:
            # It concerns the path: another route may be open, or the key is no longer valid.
            raise refusal
        return Answer(route, rows, route.takes_ids and refusal is None)

    return ask_first_open(table.name, session.config.routes, ask, session.report(table.name).closed_routes)


def _find(reader: RouteReader, table: Table, ids: Sequence[str]) -> Iterator[Row]:
    due, id_of = list(ids), row_keys(table).id
    while due:
        came = reader.find_rows(due)
        yield from came
        found = set(map(id_of, came))
        # A page limit below the number requested would truncate the response; fewer rows than any page limit are
        # complete.
        due = [row_id for row_id in due if row_id not in found] if len(found) >= SMALLEST_PAGE else []


def _each_once(table: Table, rows: Sequence[Row]) -> list[Row]:
    id_of = row_keys(table).id
    return list({row_id: row for row in rows if (row_id := id_of(row)) is not None}.values())


@dataclass
class NamedRows:
    """Gives rows requested by id to a load; a `PieceReader`.

    Attributes:
        session: The shared resources of the load.
        table: The table.
        warehouse: Its warehouse.
        types: The types of its columns.
        answer: The rows.
        finished: Whether all rows were returned.
        was_closed: Whether no route of an optional table was open, so that nothing was requested.
        handed: The content of the load, by the name of the table in the warehouse.
        living: How many of these rows were known and not marked as deleted.
        withheld: Id to the reason why its row was not written.
    """

    session: ReadSession
    table: Table
    warehouse: Warehouse
    types: ColumnTypes
    answer: Answer
    finished: bool = True
    was_closed: bool = False
    handed: dict[str, Handed] = field(default_factory=dict)
    living: int = 0
    withheld: dict[str, str] = field(default_factory=dict)

    def pieces(self, state: dict[str, Any], load_id: str) -> Iterator[Piece]:
        """Yield the new and changed rows.

        Args:
            state: The state of the table; only the home of ids is recorded, by the first rows.
            load_id: The load that will write it.
        """
        session, table = self.session, self.table
        # Agents get a workspace prefix before the comparison, and they are few.
        only = None if table.local_ids else list(map(str, map(row_keys(table).id, self.answer.rows)))
        changes = Changes(table, self.warehouse, self.types, session.clock, once=True, only=only)
        # Each was requested by id, so a deleted row that is returned is restored.
        changes.confirming = True
        self.living = changes.known.count_living()
        workspace = session.config.workspace_id or str(session.workspace()["id"])
        remembered = TableState(dict(state), load_id, self.warehouse.has_loads)
        home = remembered.ids_home(workspace) if changes.known else workspace
        if table.local_ids and not changes.known:
            # Otherwise the next run with another key would take these ids for its own.
            TableState(state, load_id, self.warehouse.has_loads).keep_ids_home(home)  # guard: home-of-ids-in-a-batch
        view = session.view(table, home, changes.known)
        intake = Intake(table, changes, view.sight, session.config.workspace_id, view.local, self.handed)
        intake.partial = not tells_all(table.name, self.answer.route) and self.warehouse.can_be_asked
        intake.begin(load_id)
        yield from intake.take(self.answer.rows)
        self.withheld = dict.fromkeys(changes.older, "older than the stored row, left to the next run") | dict.fromkeys(
            intake.foreign, "of a workspace other than the requested one"
        )
        report = session.report(table.name)
        report.rows_read, report.rows_new, report.rows_changed = len(self.answer.rows), changes.new, changes.changed

    def close(self) -> None:
        """Discard the remaining rows."""
