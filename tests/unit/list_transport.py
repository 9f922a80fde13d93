"""A transport that answers from lists: what the client and all rooms above it see of OrgX, without a network."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from orgx_source.api.envelope import Page
from orgx_source.api.listing import Order
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import Route
from orgx_source.api.transport import Transport
from orgx_source.errors import OrgxError, RouteClosedError

HOME = {"id": "11111111-1111-4111-8111-111111111111", "name": "Northwind"}


class ListTransport(Transport):
    """Answers from lists of rows by the name of a route, and keeps what it was asked.

    Attributes:
        rows: Name of a route to its rows; a route that is not in it is closed.
        asked: Each request: the route's name and the query.
        fail: Called before each page; may raise or change the rows.
        limit_most: Rows of a full page.
        totals: Whether an answer says how many rows there are.
        ignores_order: Whether rows come by the time when they were made, the newest first, whatever was asked.
    """

    def __init__(self, **rows: list[dict[str, Any]]) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = rows
        self.asked: list[tuple[str, PageQuery]] = []
        self.fail: Callable[[str, PageQuery], OrgxError | None] = lambda name, query: None
        self.limit_most = 100
        self.totals = True
        self.ignores_order = False
        self.closed_status = 403

    def bootstrap(self) -> dict[str, Any]:
        return dict(HOME)

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        self.asked.append((route.name, query))
        if failure := self.fail(route.name, query):
            raise failure
        if route.name not in self.rows:
            raise RouteClosedError(f"{route.name} is closed", status=self.closed_status, path=route.path)
        rows = list(self.rows[route.name])
        if query.ids:
            rows = [row for row in rows if row["id"] in query.ids]
        if query.since is not None:
            rows = [row for row in rows if datetime.fromisoformat(row["updated_at"]) >= query.since]
        if self.ignores_order:
            rows.sort(key=lambda row: (row["created_at"], row["id"]), reverse=True)
        elif query.order is not Order.UNKNOWN:
            name = "created_at" if query.order is Order.CREATED else "updated_at"
            rows.sort(key=lambda row: (row[name], row["id"]), reverse=query.order is Order.UPDATED)
        start, limit = query.offset or 0, min(query.limit or self.limit_most, self.limit_most)
        shown = rows[start : start + limit]
        total = len(rows) if self.totals else None
        return Page(shown, total=total, offset=start, limit=limit, has_more=start + limit < len(rows))
