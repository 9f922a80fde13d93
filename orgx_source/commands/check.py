"""Checks before the first run: the route of each table, what it can prove, and write access to the destination.

Sends one request per table, and one more for each closed route.
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
    """The result for one table's routes.

    Attributes:
        route: The route that a run would use; None if none is open.
        closed: Routes that refused, with their status.
        rows: Total reported by OrgX; None if not reported.
        total: ``given``, ``missing``, or ``doubtful`` if it contradicts the rows received.
        order: ``proven`` (rows were in the requested order), ``ignored``, ``not sortable`` or ``too few rows``.
        note: What may be missing on this route.
        error: Why the table cannot be read.
        exit_code: Exit code that a run would have for this table.
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
    """The result of `check`.

    Attributes:
        workspace: Name and id of the workspace that the key resolves to; None if the key was refused.
        tables: Table name to its result.
        destination: Name and dataset of the destination.
        destination_error: Why it cannot be written; None if it can.
        requests: Requests sent.
        limit, remaining: Last rate limit reported by OrgX; None if not reported.
        reset_at: When it resets, unix seconds.
        login: How long the MCP login lasts; None without a login.
        error: Why the check failed as a whole.
        exit_code: 0 if a run would succeed.
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
    """Check each table's routes and the destination; failures are reported, not raised.

    Args:
        config: The settings.
        pipeline: The pipeline that a run would use.
        tables: Names of the tables; by default all.
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
                found.note = f"OrgX counts {page.total} rows but says that more follow: its total is unreliable"

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
            # Every other table would fail in the same way.
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
    # OrgX's default is newest first, so an ignored order is visible.
    stamps = [moment for row in page.rows if (moment := keys.created(row)) is not None]
    if len(set(stamps)) < 2:
        return "too few rows"
    return "proven" if all(a <= b for a, b in pairwise(stamps)) else "ignored"
