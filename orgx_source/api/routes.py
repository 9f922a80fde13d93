"""The paths that can serve each table, in order of preference, with their features. Data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orgx_source.api import unfold
from orgx_source.config import Door
from orgx_source.tables import TABLES, Row, Table

BOOTSTRAP_PATH = "/api/client/bootstrap"
TOOLS_PATH = "/api/client/tools/execute"
MCP = "mcp"

Paging = Literal[
    "offset", "workspaces", "cursor", "limit", "snapshot", "bootstrap", "by_entity", "feed", "search", "told", "window"
]


@dataclass(frozen=True, slots=True)
class Route:
    """One path that can serve one table.

    Attributes:
        name: Short name, used in reports and to pin a route: the path, with its type for the generic one.
        path: Path below the base URL.
        params: Query parameters that are always sent.
        keys: Names under which the rows may appear in the response; the first match wins.
        paging: ``offset`` (limit and offset), ``workspaces`` (the same, joined with bootstrap's), ``cursor`` (opaque
            next cursor), ``limit`` (one response of at most ``limit`` rows), ``snapshot`` (everything at once),
            ``feed`` (newest rows), ``by_entity`` (one request per parent), ``bootstrap``, ``search`` (the newest first,
            by cursor), ``told`` (by the transport, without a request), ``window`` (one response with live or recent
            rows). `readers` has a class for each.
        sorts: Whether ``order_by`` and ``order_direction`` are supported.
        since: Name of the parameter for changes since a time; None if there is none.
        takes_ids: Whether ``ids`` selects single rows.
        needs_workspace: Whether ``workspace_id`` is required.
        slices: A filter and its values, which together cover most rows, for a ``limit`` route with a full response.
        asks: Limit requested from a ``window``; None leaves it to OrgX.
        unfold: Builds rows from a response that is not a plain list; see `unfold`.
        caveat: What may be missing even if the route works; None if nothing is known to be.
        source: Where the facts come from, and how certain they are.
        door: Required credentials: a key (``rest``) or a login (``mcp``).
    """

    name: str
    path: str
    keys: tuple[str, ...]
    paging: Paging
    params: Mapping[str, str] = field(default_factory=dict)
    sorts: bool = False
    since: str | None = None
    takes_ids: bool = False
    needs_workspace: bool = False
    slices: tuple[str, tuple[str, ...]] | None = None
    asks: int | None = None
    unfold: Callable[[Mapping[str, Any], list[Row] | None], list[Row] | None] | None = None
    caveat: str | None = None
    source: str = ""
    door: Door = "rest"

    @property
    def tells_changes(self) -> bool:
        """Whether it supports reading changes."""
        return self.sorts or self.since is not None


def _entities(entity_type: str, plural: str, paging: Paging = "offset") -> Route:
    return Route(
        name=f"/api/entities?type={entity_type}",
        path="/api/entities",
        params={"type": entity_type},
        keys=("data", plural, "entities"),
        paging=paging,
        sorts=True,
        takes_ids=True,
        source="observed in OrgX's published clients; not on the REST pages",
    )


def _handoffs(rows: Callable[[Mapping[str, Any], list[Row] | None], list[Row] | None]) -> Route:
    return Route(
        "/api/client/handoffs",
        "/api/client/handoffs",
        ("handoffs", "data"),
        "window",
        unfold=rows,
        caveat="OrgX does not say whether it lists all handoffs; rows that it no longer lists are kept unchanged",
        source="observed in OrgX's published clients; no parameters",
    )


def _search(entity_type: str, paging: Paging = "search") -> Route:
    return Route(
        name=MCP,
        path="/mcp",
        params={"type": entity_type},
        keys=("results",),
        paging=paging,
        source="source of OrgX's MCP server: typed orgx_search, which neither sorts nor reports changes",
        door="mcp",
    )


def _plain(table: Table) -> tuple[Route, ...]:
    return _entities(table.singular, table.name), _search(table.singular)


ROUTES: dict[str, tuple[Route, ...]] = {name: _plain(table) for name, table in TABLES.items()} | {
    "workspaces": (
        _entities("command_center", "workspaces", "workspaces"),
        Route(
            BOOTSTRAP_PATH,
            BOOTSTRAP_PATH,
            ("workspace",),
            "bootstrap",
            caveat="the bootstrap response names only the workspace that the key resolves to",
            source="documented",
        ),
        _search("workspace", "told"),
    ),
    "initiatives": (
        _entities("initiative", "initiatives"),
        Route(
            "/api/client/live/initiatives",
            "/api/client/live/initiatives",
            ("initiatives", "data"),
            "offset",
            source="documented; order not stated, few fields",
        ),
        _search("initiative"),
    ),
    "agents": (
        Route(
            "/api/client/live/agents",
            "/api/client/live/agents",
            ("agents", "data"),
            "snapshot",
            params={"include_idle": "true"},
            source="documented; a snapshot of the current state, without paging",
        ),
    ),
    "artifacts": (
        _entities("artifact", "artifacts"),
        Route(
            "/api/v1/artifacts",
            "/api/v1/artifacts",
            ("artifacts", "data"),
            "limit",
            needs_workspace=True,
            slices=(
                "status",
                (
                    "draft",
                    "in_review",
                    "approved",
                    "changes_requested",
                    "superseded",
                    "archived",
                    "rejected",
                    "eval_passed",
                ),
            ),
            source="observed in both SDKs; limit and since only",
        ),
        Route(
            "/api/client/artifacts/by-entity",
            "/api/client/artifacts/by-entity",
            ("artifacts", "data"),
            "by_entity",
            caveat="only artifacts of listed initiatives, milestones, workstreams, tasks and decisions can be read",
            source="documented; one request per entity",
        ),
        _search("artifact"),
    ),
    "decisions": (
        _entities("decision", "decisions"),
        Route(
            "/api/v1/decisions",
            "/api/v1/decisions",
            ("decisions", "data"),
            "limit",
            needs_workspace=True,
            slices=("status", ("pending", "approved", "declined", "superseded", "cancelled")),
            source="observed in both SDKs; limit only, documented as graduating",
        ),
        _search("decision"),
    ),
    "tasks": (
        _entities("task", "tasks"),
        Route(
            "/api/v1/work",
            "/api/v1/work",
            ("data", "work", "tasks"),
            "cursor",
            since="updated_since",
            needs_workspace=True,
            caveat="on this route, OrgX may list only work owned by the key's user",
            source="observed in both SDKs",
        ),
        _search("task"),
    ),
    "activity": (
        Route(
            "/api/client/live/activity",
            "/api/client/live/activity",
            ("activities", "activity", "data"),
            "feed",
            since="since",
            source="observed; since and limit only, older events beyond the limit cannot be reached",
        ),
    ),
    "runs": (
        _entities("run", "runs"),
        Route(
            "/api/v1/runs",
            "/api/v1/runs",
            ("runs", "data"),
            "window",
            params={"status": "all"},
            asks=100,
            caveat="OrgX returns a single page of runs, without a total or a next page",
            source="observed in OrgX's published clients with a web session; a key may be refused",
        ),
    ),
    "execution_receipts": (
        Route(
            "/api/v1/execution/receipts",
            "/api/v1/execution/receipts",
            ("receipts", "data"),
            "window",
            params={"days": "30"},
            needs_workspace=True,
            caveat="OrgX lists only receipts of the last 30 days; older rows are kept unchanged",
            source="observed in OrgX's published clients with a web session; a key may be refused",
        ),
    ),
    "sessions": (
        Route(
            "/api/client/live/sessions",
            "/api/client/live/sessions",
            ("nodes", "sessions", "data"),
            "window",
            asks=500,
            unfold=unfold.sessions,
            caveat="OrgX lists only live sessions; rows that it no longer lists are kept unchanged",
            source="observed in OrgX's published clients; limit only",
        ),
    ),
    "handoffs": (
        _handoffs(unfold.handoffs),
        Route(
            "/api/v1/handoffs",
            "/api/v1/handoffs",
            ("data", "handoffs"),
            "window",
            needs_workspace=True,
            unfold=unfold.handoffs,
            caveat="OrgX does not say whether it lists all handoffs; rows that it no longer lists are kept unchanged",
            source="observed in OrgX's SDK; no paging. Its ids may differ from those of the client path",
        ),
    ),
    "handoff_events": (_handoffs(unfold.handoff_events),),
    "work_receipts": (
        Route(
            "/api/v1/work-ledger/receipts",
            "/api/v1/work-ledger/receipts",
            ("results", "receipts", "data"),
            "window",
            needs_workspace=True,
            asks=100,
            unfold=unfold.work_receipts,
            caveat="OrgX lists only receipts of the last 120 days, at most 100 of them; older rows are kept unchanged",
            source="observed in OrgX's MCP server; a key may be refused",
        ),
    ),
    "usage": tuple(
        Route(
            path,
            path,
            ("usage",),
            "window",
            unfold=unfold.usage,
            caveat="OrgX lists only the current period; rows of earlier periods are kept unchanged",
            source="observed in OrgX's published clients; what each usage path returns is not certain",
        )
        for path in ("/api/usage/control-plane/summary", "/api/usage/unified")
    ),
}
"""The routes of each table. A table without an entry here is read as an entity: workstreams, milestones."""
