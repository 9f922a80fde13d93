"""How a query is spelled on OrgX's REST routes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orgx_source.api.http import query_parameters
from orgx_source.api.listing import Order
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import ROUTES

MOMENT = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("table", "number", "query", "expected"),
    [
        ("tasks", 0, PageQuery(), {"type": "task"}),
        ("tasks", 0, PageQuery(limit=100, offset=0), {"type": "task", "limit": 100, "offset": 0}),
        (
            "tasks",
            0,
            PageQuery(order=Order.CREATED),
            {"type": "task", "order_by": "created_at", "order_direction": "asc"},
        ),
        (
            "tasks",
            0,
            PageQuery(order=Order.UPDATED),
            {"type": "task", "order_by": "updated_at", "order_direction": "desc"},
        ),
        (
            "tasks",
            0,
            PageQuery(ids=("a", "b"), fields=("id", "title"), limit=2),
            {"type": "task", "ids": "a,b", "fields": "id,title", "limit": 2},
        ),
        # The generic route gets both names of the workspace, a v1 route only the one that it requires.
        ("tasks", 0, PageQuery(workspace_id="w"), {"type": "task", "workspace_id": "w", "command_center_id": "w"}),
        ("tasks", 1, PageQuery(workspace_id="w", cursor="c"), {"workspace_id": "w", "cursor": "c"}),
        ("tasks", 1, PageQuery(since=MOMENT), {"updated_since": "2026-11-20T02:00:00.000Z"}),
        ("activity", 0, PageQuery(since=MOMENT, limit=5), {"since": "2026-11-20T02:00:00.000Z", "limit": 5}),
        ("tasks", 0, PageQuery(since=MOMENT), {"type": "task"}),
        ("decisions", 1, PageQuery(equals=("status", "pending")), {"status": "pending"}),
        ("artifacts", 2, PageQuery(parent=("task", "t")), {"entity_type": "task", "entity_id": "t"}),
        ("agents", 0, PageQuery(), {"include_idle": "true"}),
    ],
)
def test_a_query_is_spelled_as_its_route_understands_it(
    table: str, number: int, query: PageQuery, expected: dict[str, Any]
) -> None:
    assert query_parameters(ROUTES[table][number], query) == expected
