"""Compares the warehouse with OrgX: reads every row again and compares it. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Row
from orgx_source.api.limits import Spending
from orgx_source.api.route_choice import NOT_OPEN, ask_first_open, served_tables, tells_all
from orgx_source.api.route_reader import row_keys
from orgx_source.api.routes import Route
from orgx_source.config import OrgxConfig
from orgx_source.errors import RouteClosedError, worst_exit_code
from orgx_source.explain import explain
from orgx_source.reading.changes import Changes, Shaped
from orgx_source.reading.intake import ROWS_AT_ONCE
from orgx_source.reading.scope import rows_in_workspace
from orgx_source.reading.session import ReadSession
from orgx_source.reading.table_state import TableState
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.tables import TABLES, Table
from orgx_source.times import parse_timestamp
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.target import empty_dataset

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs.

    Attributes:
        id: Its id.
        problem: ``missing`` (not in the warehouse), ``extra`` (only there) or ``different``.
        columns: The columns that differ, for a different row; ``_row_hash`` if only that was changed.
    """

    id: str
    problem: str
    columns: list[str] = field(default_factory=list)


@dataclass
class TableComparison:
    """The comparison of one table.

    Attributes:
        route: The route that was read; None if none is open.
        verdict: How reliable the read is.
        reasons: Why the read is not certified.
        rows_at_orgx: Rows received.
        rows_in_warehouse: Rows in the warehouse not marked as deleted.
        missing, extra, different: Number of rows that differ, by kind.
        newer: Of the missing and different rows, those changed after the last run's cursor.
        examples: Some rows of each kind.
        requests: Requests sent.
        error: Why it could not be compared.
        exit_code: 1 if anything differs.
    """

    route: str | None = None
    verdict: str | None = None
    reasons: list[str] = field(default_factory=list)
    rows_at_orgx: int = 0
    rows_in_warehouse: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    newer: int = 0
    examples: list[Difference] = field(default_factory=list)
    requests: int = 0
    error: str | None = None
    exit_code: int = 0


@dataclass
class VerifyReport:
    """The result of `verify`.

    Attributes:
        tables: Table name to its comparison.
        requests: Requests sent.
        error: Why the comparison failed as a whole.
        exit_code: 0 if nothing differs, else 1.
    """

    tables: dict[str, TableComparison] = field(default_factory=dict)
    requests: int = 0
    error: str | None = None
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what ``verify --json`` prints."""
        return asdict(self)


def run_verify(
    config: OrgxConfig,
    pipeline: Any,
    *,
    tables: Sequence[str] | None = None,
    client: OrgxClient | None = None,
    on_table: Callable[[str], None] = lambda name: None,
) -> VerifyReport:
    """Compare OrgX with a warehouse, row by row; failures of either are reported, not raised.

    Args:
        config: The settings; a workspace filter compares that workspace only.
        pipeline: The pipeline that filled the warehouse.
        tables: Names of the tables; by default all.
        client: Reads OrgX, and is closed at the end; by default created from the settings.
        on_table: Called before each table.
    """
    report = VerifyReport()
    session = ReadSession(config, client or OrgxClient(config))
    try:
        session.check_workspace()
        warehouse = session.warehouse(pipeline)
        warehouse.require_sql("there is nothing to compare")
        states, columns = warehouse.remembered()
        if not (states or columns):
            raise empty_dataset(warehouse.dataset)
        for name in config.table_names(tables, served_tables(config.doors)):
            on_table(name)
            found = report.tables[name] = TableComparison()
            try:
                _Comparison(session, warehouse, TABLES[name], columns.get(name, {}), states.get(name, {}), found).run()
            except Exception as error:
                failure = explain(error)
                if TABLES[name].optional and isinstance(failure, RouteClosedError):
                    found.route, found.reasons = None, [NOT_OPEN]
                else:
                    found.error, found.exit_code = str(failure), failure.exit_code
    except Exception as error:
        failure = explain(error)
        report.error, report.exit_code = str(failure), failure.exit_code
    finally:
        session.close()
        report.requests = session.client.budget.spent
    report.exit_code = worst_exit_code(report.exit_code, *(table.exit_code for table in report.tables.values()))
    return report


class _Comparison:
    """Compares one table."""

    def __init__(
        self,
        session: ReadSession,
        warehouse: Warehouse,
        table: Table,
        columns: dict[str, Any],
        state: dict[str, Any],
        found: TableComparison,
    ) -> None:
        self._session, self._warehouse, self._table, self._found = session, warehouse, table, found
        self._changes = Changes(table, warehouse, ColumnTypes(table, columns), session.clock)
        self._cursor = parse_timestamp(state.get("cursor"))
        self._keys = row_keys(table)
        self._seen: set[str] = set()
        self._is_window = False
        own = str(session.workspace()["id"])
        remembered = TableState(state, "", warehouse.has_loads)
        self._looks, home = remembered.looks, remembered.ids_home(session.config.workspace_id or own)
        self._view = session.view(table, home, self._changes.known)

    def run(self) -> None:
        found = self._found
        ask_first_open(self._table.name, self._session.config.routes, self._read, [], self._session.config.doors)
        living = {row_id: known for row_id, known in self._changes.known.items() if not known.deleted}
        if not self._table.append_only and not self._is_window:
            unmet = {row_id: known for row_id, known in living.items() if row_id not in self._seen}
            extra = self._view.expected(unmet, self._looks)
            found.extra = len(extra)
            found.examples += [Difference(row_id, "extra") for row_id in extra[:EXAMPLES]]
        found.rows_at_orgx, found.rows_in_warehouse = len(self._seen), len(living)
        found.exit_code = 1 if found.missing or found.extra or found.different else 0

    def _read(self, route: Route) -> None:
        partial = not tells_all(self._table.name, route)
        spending = Spending()
        reader = self._session.open_route(self._table, route, spending)
        reader.stored = self._changes.known.count_living()
        self._found.route = route.name
        # Rows that have left the window are kept.
        self._is_window = route.paging == "window"
        try:
            waiting: list[Row] = []
            for batch in reader.rows():
                rows = rows_in_workspace(self._table, batch, self._session.config.workspace_id)
                waiting += rows if self._view.local is None else self._view.local.stored(rows)
                if len(waiting) >= ROWS_AT_ONCE:
                    self._compare(waiting, self._changes.shape(waiting, partial=partial))
                    waiting = []
            if waiting:
                self._compare(waiting, self._changes.shape(waiting, partial=partial))
        finally:
            self._found.requests += spending.requests
        if not self._seen and (doubt := self._session.workspace_doubt()):
            reader.report.miss(doubt)
        self._found.verdict, self._found.reasons = reader.report.verdict, list(reader.report.reasons)

    def _compare(self, rows: list[Row], shaped: Shaped) -> None:
        found = self._found
        self._view.sight.note(shaped.workspaces)
        moments = {self._keys.id(row): self._keys.updated(row) or self._keys.created(row) for row in rows}
        differing = {} if self._table.append_only else self._changes.differing(shaped)
        for row_id, row_hash in zip(shaped.ids, shaped.hashes, strict=True):
            if row_id in self._seen:
                continue
            self._seen.add(row_id)
            known = self._changes.known.get(row_id)
            if known is None or known.deleted:
                found.missing += 1
                if found.missing <= EXAMPLES:
                    found.examples.append(Difference(row_id, "missing"))
            elif not self._table.append_only and (row_id in differing or known.row_hash != row_hash):
                found.different += 1
                if found.different <= EXAMPLES:
                    found.examples.append(Difference(row_id, "different", differing.get(row_id, ["_row_hash"])))
            else:
                continue
            moment = moments.get(row_id)
            found.newer += moment is not None and self._cursor is not None and moment > self._cursor
