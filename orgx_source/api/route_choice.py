"""Which route serves a table: the first of its routes that is open to this key."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from orgx_source.api.routes import ROUTES, Route
from orgx_source.errors import ApiError, ConfigError, RouteClosedError

logger = logging.getLogger(__name__)

# A route that answers one of these will not serve this key; 400 and 422 come from a route that does not know the type.
CLOSED_STATUSES = frozenset({400, 401, 403, 404, 405, 406, 410, 422, 451, 501})

T = TypeVar("T")


def choose_routes(table: str, pinned: Mapping[str, str]) -> Sequence[Route]:
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


def read_first_open(
    table: str, pinned: Mapping[str, str], read: Callable[[Route], Iterable[T]], closed: list[str]
) -> Iterator[T]:
    """Yield what is read from the first route that is open to this key.

    Args:
        table: Name of the table.
        pinned: Table name to the one route to use for it.
        read: Reads from a route.
        closed: Gets the routes that refused, with their status.

    Raises:
        RouteClosedError: None is open.
        OrgxError: From ``read``, when the route is open and fails.
    """
    refusal: ApiError | None = None
    for route in choose_routes(table, pinned):
        try:
            yield from read(route)
            return
        except ApiError as error:
            if error.status not in CLOSED_STATUSES:
                raise
            logger.warning("%s: %s; trying the next route", table, error)
            closed.append(f"{route.name} ({error.status})")
            refusal = error
    raise RouteClosedError(
        f"{table}: no route is open to this key, although the key itself works ({', '.join(closed)}). {refusal}",
        status=refusal.status if refusal else 0,
        path=refusal.path if refusal else "",
    )


def ask_first_open(table: str, pinned: Mapping[str, str], ask: Callable[[Route], T], closed: list[str]) -> T:
    """Return the answer of the first route that is open to this key; see `read_first_open`."""
    return next(read_first_open(table, pinned, lambda route: [ask(route)], closed))


def tells_all(table: str, route: Route) -> bool:
    """Return whether a route tells all that OrgX says of a row; the later ones of a table tell a part of it."""
    return route is ROUTES[table][0]
