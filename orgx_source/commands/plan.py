"""Plans a run: route, requests and rows per table. Writes nothing.

Sends one request per table, and one more for each closed route.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from orgx_source.api.client import OrgxClient
from orgx_source.api.route_choice import ask_first_open, closed_note, served_tables
from orgx_source.api.route_reader import RouteReader
from orgx_source.api.routes import Route
from orgx_source.config import OrgxConfig
from orgx_source.errors import ApiError, RouteClosedError, UnexpectedError, worst_exit_code
from orgx_source.explain import explain
from orgx_source.reading.cursor import Beginning
from orgx_source.reading.session import ReadSession
from orgx_source.reading.table_reader import TableReader
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.tables import TABLES
from orgx_source.warehouse.dataset import Warehouse

Mode = Literal["whole", "changes", "resume"]


@dataclass
class TablePlan:
    """The plan for one table.

    Attributes:
        route: The route it would be read from; None if none is open.
        mode: ``whole``, ``changes`` (since the cursor) or ``resume`` (an interrupted full read).
        because: The reason.
        rows: Rows to read; None if unknown before the read.
        requests: Approximate number of requests; None if unknown. Rows with the same creation time at a page boundary
            cost one more, so a table with many rows created at once can take twice as many.
        at_least: Whether rows and requests are lower bounds.
        closed: Routes that refused, with their status.
        error: Why the table cannot be read.
        exit_code: Exit code that a run would have for this table.
    """

    route: str | None = None
    mode: Mode | None = None
    because: str = ""
    rows: int | None = None
    requests: int | None = None
    at_least: bool = False
    closed: list[str] = field(default_factory=list)
    error: str | None = None
    exit_code: int = 0


@dataclass
class PlanReport:
    """The result of `plan`.

    Attributes:
        tables: Table name to its plan.
        requests: Requests that the run would send, as far as known, including the one for the workspace.
        asked: Requests sent for the plan.
        error: Why the plan failed as a whole.
        exit_code: 0 if a run would succeed.
    """

    tables: dict[str, TablePlan] = field(default_factory=dict)
    requests: int = 0
    asked: int = 0
    error: str | None = None
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what ``plan --json`` prints."""
        return asdict(self)


def run_plan(
    config: OrgxConfig,
    pipeline: Any,
    *,
    tables: Sequence[str] | None = None,
    client: OrgxClient | None = None,
    on_table: Callable[[str], None] = lambda name: None,
) -> PlanReport:
    """Return what `run_sync` would do now; failures of OrgX or the destination are reported, not raised.

    Args:
        config: The settings of the run.
        pipeline: The pipeline that it would use.
        tables: Names of the tables; by default all.
        client: Reads OrgX, and is closed at the end; by default created from the settings.
        on_table: Called before each table.
    """
    report = PlanReport()
    session = ReadSession(config, client or OrgxClient(config))
    try:
        session.check_workspace()
        warehouse = session.warehouse(pipeline)
        states, columns = warehouse.remembered()
        for name in config.table_names(tables, served_tables(config.doors)):
            on_table(name)
            report.tables[name] = _plan_table(session, warehouse, name, states.get(name, {}), columns.get(name, {}))
        report.requests = session.client.overhead + sum(table.requests or 0 for table in report.tables.values())
    except Exception as error:
        failure = explain(error)
        report.error, report.exit_code = str(failure), failure.exit_code
    finally:
        session.close()
        report.asked = session.client.budget.spent
    report.exit_code = worst_exit_code(report.exit_code, *(table.exit_code for table in report.tables.values()))
    return report


def _plan_table(
    session: ReadSession, warehouse: Warehouse, name: str, state: dict[str, Any], columns: dict[str, Any]
) -> TablePlan:
    table, plan = TABLES[name], TablePlan()
    reader = TableReader(session, table, warehouse, ColumnTypes(table, columns))

    def ask(route: Route) -> None:
        plan.route = route.name
        opened = session.open_route(table, route)
        _plan_route(plan, opened, reader.plan(dict(state), route), reader.living, lambda: session.may_sample(name))

    try:
        known = reader.closed_doors(dict(state))
        ask_first_open(name, session.config.routes, ask, plan.closed, session.config.doors, known)
    except RouteClosedError:
        plan.route = None
        if table.optional:
            plan.because, plan.rows, plan.requests = closed_note(plan.closed), 0, 0
        else:
            plan.error, plan.exit_code = "no route is open to this key", 1
    except Exception as error:
        failure = explain(error)
        if not isinstance(failure, ApiError | UnexpectedError):
            # Every other table would fail in the same way.
            raise
        plan.error, plan.exit_code = str(failure), failure.exit_code
    return plan


def _plan_route(
    plan: TablePlan, reader: RouteReader, beginning: Beginning, living: int, may_sample: Callable[[], bool]
) -> None:
    """Fill in the mode, rows and requests of a table's read."""
    watermark = beginning.watermark
    page = reader.first_page(watermark)
    plan.because = beginning.because
    plan.mode = "resume" if beginning.offset else "whole" if watermark is None else "changes"
    if page is None:
        plan.rows, plan.requests = 1, 0
        return
    estimate = reader.estimate(page, watermark, beginning.offset, living)
    plan.rows, plan.requests, plan.at_least = estimate.rows, estimate.requests, estimate.at_least
    if estimate.then_whole:
        plan.because += f"; then a full read, because OrgX counts {page.total} rows and the warehouse has {living}"
    elif (
        watermark
        and estimate.requests == 1
        and reader.has_places
        and (page.total or 0) > len(page.rows)
        and may_sample()
    ):
        plan.requests = 2
        plan.because += "; then a page of old rows"
