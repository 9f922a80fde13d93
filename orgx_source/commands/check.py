"""Before the first run: which route answers for each table, what it can prove, and whether the destination takes data.

One request per table, and one more for each route that turns out to be closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page
from orgx_source.api.route_choice import ask_first_open, closed_note, served_tables
from orgx_source.api.route_reader import row_keys
from orgx_source.api.routes import Route
from orgx_source.config import OrgxConfig
from orgx_source.errors import ApiError, RouteClosedError, UnexpectedError, worst_exit_code
from orgx_source.explain import explain
from orgx_source.login.tokens import describe_login
from orgx_source.reading.session import ReadSession
from orgx_source.tables import TABLES
from orgx_source.warehouse.dataset import Warehouse


@dataclass
class TableCheck:
    """What one table's routes answered.

    Attributes:
        route: The route that a run would use; None when none is open.
        closed: Routes that refused, with their status.
        rows: What OrgX counts; None when it does not.
        total: ``given``, ``missing``, or ``doubtful`` when it contradicts the rows that came.
        order: ``proven`` (rows came in the order asked for), ``ignored``, ``not sortable`` or ``too few rows``.
        note: What may be missing on this route.
        error: Why the table cannot be read.
        exit_code: What that means for a run.
    """

    route: str | None = None
    closed: list[str] = field(default_factory=list)
    rows: int | None = None
    total: str = "missing"
    order: str = "not sortable"
    note: str | None = None
    error: str | None = None
    exit_code: int = 0


@dataclass
class CheckReport:
    """What `check` found.

    Attributes:
        workspace: Name and id of the workspace that the key resolves to; None when the key was refused.
        tables: Table name to what its routes answered.
        destination: What it is.
        destination_error: Why it cannot be written; None when it can.
        requests: Requests sent.
        limit, remaining: The rate budget as OrgX last told it; None when it does not.
        reset_at: When it is full again, unix seconds.
        login: How long the login for MCP lasts; None where nobody is logged in.
        error: Why nothing could be checked.
        exit_code: 0 when a run would succeed.
    """

    workspace: str | None = None
    tables: dict[str, TableCheck] = field(default_factory=dict)
    destination: str = ""
    destination_error: str | None = None
    requests: int = 0
    limit: int | None = None
    remaining: int | None = None
    reset_at: float | None = None
    login: str | None = None
    error: str | None = None
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what ``check --json`` prints."""
        return asdict(self)


def run_check(
    config: OrgxConfig,
    pipeline: Any,
    *,
    tables: Sequence[str] | None = None,
    on_table: Callable[[str], None] = lambda name: None,
) -> CheckReport:
    """Ask each table's routes and the destination; never raises for what they answer.

    Args:
        config: Key and address.
        pipeline: The pipeline that a run would use.
        tables: Names of the tables; all when not given.
        on_table: Called before each table.
    """
    report = CheckReport(destination=_describe(pipeline))
    session = ReadSession(config, OrgxClient(config))
    try:
        if config.has_login and (said := describe_login(config.mcp_url, time.time())) is not None:
            report.login = said[0]
        workspace = session.check_workspace()
        name, workspace_id = workspace.get("name"), str(workspace["id"])
        report.workspace = f"{name} ({workspace_id})" if name else workspace_id
        for name in config.table_names(tables, served_tables(config.doors)):
            on_table(name)
            report.tables[name] = _check_table(session, name)
    except Exception as error:
        failure = explain(error)
        report.error, report.exit_code = str(failure), failure.exit_code
    finally:
        session.close()
    budget = session.client.budget
    report.requests, report.limit, report.remaining = budget.spent, budget.limit, budget.remaining
    report.reset_at = budget.reset_at
    _check_destination(pipeline, report)
    report.exit_code = worst_exit_code(report.exit_code, *(table.exit_code for table in report.tables.values()))
    return report


def _check_destination(pipeline: Any, report: CheckReport) -> None:
    try:
        warehouse = Warehouse(pipeline)
        try:
            warehouse.check_writable()
        finally:
            warehouse.close()
    except Exception as error:
        failure = explain(error)
        report.destination_error = str(failure)
        report.exit_code = worst_exit_code(report.exit_code, failure.exit_code)


def _describe(pipeline: Any) -> str:
    name = pipeline.destination.destination_name
    return f"{name}, dataset {pipeline.dataset_name}"


def _check_table(session: ReadSession, name: str) -> TableCheck:
    found = TableCheck()

    def ask(route: Route) -> None:
        found.route = route.name
        page = session.open_route(TABLES[name], route).first_page()
        found.note = route.caveat
        if page is not None:
            found.rows = page.total
            found.order, found.total = _judge_order(name, route, page), _judge_total(page)
            if not page.rows:
                found.note = found.note or session.workspace_doubt()
            if found.total == "missing" and found.note is None:
                found.note = "no total: reads cannot be certified"
            if found.total == "doubtful":
                found.note = f"OrgX counts {page.total} rows and says that more follow: its total is unreliable"

    try:
        ask_first_open(name, session.config.routes, ask, found.closed, session.config.doors)
    except RouteClosedError:
        found.route = None
        if TABLES[name].optional:
            found.note = closed_note(found.closed)
        else:
            found.error, found.exit_code = "no route is open to this key", 1
    except Exception as error:
        failure = explain(error)
        if not isinstance(failure, ApiError | UnexpectedError):
            # It would be the same for every other table.
            raise
        found.error, found.exit_code = str(failure), failure.exit_code
    return found


def _judge_total(page: Page) -> str:
    if page.total is None:
        return "missing"
    too_small = page.total < len(page.rows) or (page.has_more is True and page.total <= len(page.rows))
    return "doubtful" if too_small else "given"


def _judge_order(name: str, route: Route, page: Page) -> str:
    if not route.sorts:
        return "not sortable"
    keys = row_keys(TABLES[name])
    # By default OrgX gives the newest first: an order that is ignored shows.
    stamps = [moment for row in page.rows if (moment := keys.created(row)) is not None]
    if len(set(stamps)) < 2:
        return "too few rows"
    return "proven" if all(a <= b for a, b in pairwise(stamps)) else "ignored"
