"""Which route serves a table: the first of its routes that is open to this key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from orgx_source.api.routes import ROUTES, Route
from orgx_source.errors import ApiError, ConfigError, RouteClosedError

# A route that answers one of these will not serve this key; 400 and 422 come from a route that does not know the type.
CLOSED_STATUSES = frozenset({400, 401, 403, 404, 410, 422})

T = TypeVar("T")


def choose_routes(table: str, pinned: dict[str, str]) -> Sequence[Route]:
    """Return the routes to try for a table, in order.

    Raises:
        ConfigError: A route is pinned that the table does not have.
    """
    routes = ROUTES[table]
    wanted = pinned.get(table)
    if wanted is None:
        return routes
    chosen = [route for route in routes if wanted in (route.name, route.path)]
    if not chosen:
        names = ", ".join(route.name for route in routes)
        raise ConfigError(f"{table} has no route {wanted}; it can be read from {names}")
    return chosen


def ask_first_open(table: str, pinned: dict[str, str], ask: Callable[[Route], T], closed: list[str]) -> T:
    """Return the answer of the first route that is open to this key.

    Args:
        table: Name of the table.
        pinned: Table name to the one route to use for it.
        ask: Sends what is to be asked to a route.
        closed: Gets the routes that refused, with their status.

    Raises:
        RouteClosedError: None is open.
        OrgxError: From ``ask``, when the route is open and fails.
    """
    refusal: ApiError | None = None
    for route in choose_routes(table, pinned):
        try:
            return ask(route)
        except ApiError as error:
            if error.status not in CLOSED_STATUSES:
                raise
            closed.append(f"{route.name} ({error.status})")
            refusal = error
    raise none_is_open(table, closed, refusal)


def none_is_open(table: str, closed: Sequence[str], refusal: ApiError | None) -> RouteClosedError:
    """Return the error for a table that no route serves."""
    return RouteClosedError(
        f"{table}: no route is open to this key, although the key itself works ({', '.join(closed)}). {refusal}",
        status=refusal.status if refusal else 0,
        path=refusal.path if refusal else "",
    )
