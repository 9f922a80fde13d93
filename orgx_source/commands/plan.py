"""What a run would do: route, requests and rows per table. Nothing is written.

One request per table, and one more for each route that turns out to be closed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page
from orgx_source.api.route_choice import ask_first_open
from orgx_source.api.route_reader import row_keys
from orgx_source.api.routes import Route
from orgx_source.config import OrgxConfig
from orgx_source.errors import ApiError, RouteClosedError, UnexpectedError, worst_exit_code
from orgx_source.explain import explain
from orgx_source.reading.session import ReadSession
from orgx_source.reading.table_reader import Beginning, TableReader
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.tables import TABLES, Table
from orgx_source.warehouse.dataset import Warehouse

Mode = Literal["whole", "changes", "resume"]


@dataclass
class TablePlan:
    """What a run would do for one table.

    Attributes:
        route: Where it would be read; None when no route is open.
        mode: ``whole``, ``changes`` (since the cursor) or ``resume`` (a whole read that was cut short).
        because: Why.
        rows: Rows to read; None where only the read itself can tell.
        requests: Requests to send, about; None likewise. Rows that share their time of creation at the edge of a page
            cost one more, so that a table of which much was made at once can take twice as many.
        at_least: Whether rows and requests may be more than that.
        closed: Routes that refused, with their status.
        error: Why the table cannot be read.
        exit_code: What that means for a run.
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
    """What `plan` found.

    Attributes:
        tables: Table name to what a run would do for it.
        requests: What the run would send, as far as that can be told, with the one for the workspace.
        asked: Requests sent to find out.
        error: Why nothing could be planned.
        exit_code: 0 when a run would succeed.
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
    """Say what `run_sync` would do now; never raises for what OrgX or the destination answer.

    Args:
        config: The settings of the run.
        pipeline: The pipeline that it would fill.
        tables: Names of the tables; all when not given.
        client: Reads OrgX, and is closed at the end; made from the settings when not given.
        on_table: Called before each table.
    """
    report = PlanReport()
    session = ReadSession(config, client or OrgxClient(config))
    try:
        session.workspace()
        warehouse = session.warehouse(pipeline)
        states, columns = warehouse.remembered()
        for name in tables or TABLES:
            on_table(name)
            report.tables[name] = _plan_table(session, warehouse, name, states.get(name, {}), columns.get(name, {}))
        report.requests = 1 + sum(table.requests or 0 for table in report.tables.values())
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
        beginning = reader.plan(dict(state), route)
        page = session.route_reader(table, route).first_page(beginning.watermark)
        plan.because = beginning.because
        plan.mode = "resume" if beginning.offset else "whole" if beginning.watermark is None else "changes"
        _estimate(plan, table, session.config.page_size, route, beginning, page, reader.living)

    try:
        ask_first_open(name, session.config.routes, ask, plan.closed)
    except RouteClosedError:
        plan.route, plan.error, plan.exit_code = None, "no route is open to this key", 1
    except Exception as error:
        failure = explain(error)
        if not isinstance(failure, ApiError | UnexpectedError):
            # It would be the same for every other table.
            raise
        plan.error, plan.exit_code = str(failure), failure.exit_code
    return plan


def _estimate(
    plan: TablePlan, table: Table, page_size: int, route: Route, beginning: Beginning, page: Page | None, living: int
) -> None:
    """Fill in rows and requests.

    Args:
        plan: Where.
        table: The table.
        page_size: Rows asked for per page.
        route: Where it is read.
        beginning: How the read begins.
        page: Its first page; None where there is nothing to ask.
        living: Rows in the warehouse that OrgX listed at the last read.
    """
    if page is None:
        plan.rows, plan.requests = 1, 0
        return
    if route.paging == "by_entity":
        # One request per entity that may have artifacts: only reading them tells how many there are.
        return
    if route.paging != "offset":
        plan.rows, plan.requests = len(page.rows), 1
        plan.at_least = page.next_cursor is not None or (page.total is not None and page.total > len(page.rows))
        return
    size = page.limit or len(page.rows) or page_size
    remaining = None if page.total is None else max(0, page.total - beginning.offset)
    if beginning.watermark is None:
        plan.rows = len(page.rows) if remaining is None else remaining
        plan.requests, plan.at_least = _pages(plan.rows, size), remaining is None
        return
    keys = row_keys(table)
    stamps = [keys.updated(row) or keys.created(row) for row in page.rows]
    changed = sum(stamp is None or stamp >= beginning.watermark for stamp in stamps)
    plan.rows, plan.requests = len(page.rows), 1
    if changed == len(page.rows) and (page.has_more or (page.total or 0) > changed):
        # More than a page has changed; where it ends, only reading on would tell.
        plan.requests, plan.at_least = 2, True
    elif page.total is not None and page.total < living:
        plan.rows, plan.requests = page.total, 1 + _pages(page.total, size)
        plan.because += f"; then whole, because OrgX counts {page.total} rows and the warehouse {living}"


def _pages(rows: int, size: int) -> int:
    """Return how many pages of this size, each overlapping the next by a tenth, hold so many rows."""
    overlap = max(1, size // 10)
    return 1 + max(0, math.ceil((rows - size) / max(1, size - overlap)))
