"""What a run would do: route, requests and rows per table. Nothing is written.

One request per table, and one more for each route that turns out to be closed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page
from orgx_source.api.reader import FEED_LIMIT_ASKED, row_keys
from orgx_source.api.routes import Route
from orgx_source.changes import learnt_types
from orgx_source.config import OrgxConfig
from orgx_source.errors import ApiError, OrgxError
from orgx_source.session import ReadSession
from orgx_source.table_reader import CLOSED_STATUSES, Beginning, TableReader, choose_routes
from orgx_source.tables import TABLES, Table
from orgx_source.times import iso_utc
from orgx_source.warehouse import Warehouse

Mode = str
"""``whole``, ``changes`` or ``resume``."""


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
        states, columns = remembered(pipeline)
        for name in tables or TABLES:
            on_table(name)
            report.tables[name] = _plan_table(session, warehouse, name, states.get(name, {}), columns.get(name, {}))
        report.requests = 1 + sum(table.requests or 0 for table in report.tables.values())
    except OrgxError as error:
        report.error, report.exit_code = str(error), error.exit_code
    finally:
        session.close()
        report.asked = session.client.budget.spent
    report.exit_code = report.exit_code or max((table.exit_code for table in report.tables.values()), default=0)
    return report


def remembered(pipeline: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what each table remembers from its last run, and its columns as dlt knows them."""
    pipeline.sync_destination()
    states = pipeline.state.get("sources", {}).get("orgx", {}).get("resources", {})
    if "orgx" not in pipeline.schema_names:
        return states, {}
    found = pipeline.schemas["orgx"].tables
    return states, {name: dict(found[name]["columns"]) for name in TABLES if name in found}


def _plan_table(
    session: ReadSession, warehouse: Warehouse, name: str, state: dict[str, Any], columns: dict[str, Any]
) -> TablePlan:
    table, plan = TABLES[name], TablePlan()
    reader = TableReader(session, table, warehouse, learnt_types(table, columns))
    for route in choose_routes(name, session.config.routes):
        beginning = reader.plan(dict(state), route)
        try:
            page = _first_page(session, route, beginning)
        except ApiError as error:
            if error.status in CLOSED_STATUSES:
                plan.closed.append(f"{route.name} ({error.status})")
                continue
            plan.route, plan.error, plan.exit_code = route.name, str(error), error.exit_code
            return plan
        plan.route, plan.because = route.name, beginning.because
        plan.mode = "resume" if beginning.offset else "whole" if beginning.watermark is None else "changes"
        _estimate(plan, table, session.config.page_size, route, beginning, page, reader.living)
        return plan
    plan.error, plan.exit_code = "no route is open to this key", 1
    return plan


def _first_page(session: ReadSession, route: Route, beginning: Beginning) -> Page | None:
    """Fetch what a run would fetch first; None where bootstrap has told it already."""
    workspace = session.config.workspace_id or str(session.workspace()["id"])
    params: dict[str, str | int] = {"limit": session.config.page_size}
    if route.paging == "bootstrap":
        return None
    if route.paging == "snapshot":
        params = {}
    if route.paging == "feed":
        params["limit"] = FEED_LIMIT_ASKED
    if route.paging == "by_entity":
        params |= {"entity_type": "initiative", "entity_id": workspace}
    if beginning.watermark is not None and route.paging in ("feed", "cursor"):
        params["since" if route.paging == "feed" else "updated_since"] = iso_utc(beginning.watermark)
    if route.sorts:
        field_name, direction = ("created_at", "asc") if beginning.watermark is None else ("updated_at", "desc")
        params |= {"order_by": field_name, "order_direction": direction}
    if route.needs_workspace or session.config.workspace_id:
        params["workspace_id"] = workspace
    return session.client.fetch_page(route, params)


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
