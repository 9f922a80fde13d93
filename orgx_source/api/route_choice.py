"""Chooses the route of a table: the first one that is open to this key."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from orgx_source.api.routes import ROUTES, Route
from orgx_source.config import MCP_PACKAGE, Door, has_mcp_package
from orgx_source.errors import ApiError, ConfigError, RouteClosedError

logger = logging.getLogger(__name__)

# With these statuses a route does not serve this key; 400 and 422 mean that it does not know the entity type.
CLOSED_STATUSES = frozenset({400, 401, 403, 404, 405, 406, 410, 422, 451, 501})

REST: frozenset[Door] = frozenset({"rest"})
KEY_NEEDED = "MCP does not serve this; set an API key (SOURCES__ORGX__API_KEY or ORGX_API_KEY)"
NOT_OPEN = "not open to this key"
NOT_OPEN_TO_LOGIN = f"not open to this login: {KEY_NEEDED}"

T = TypeVar("T")


def choose_routes(table: str, pinned: Mapping[str, str], doors: Collection[Door] = REST) -> Sequence[Route]:
    """Return the routes to try for a table, in order.

    Args:
        table: Name of the table.
        pinned: Table name to the only route to use for it.
        doors: The interfaces that the settings allow.

    Raises:
        ConfigError: A pinned route does not exist, or no route can be used with these settings.
    """
    routes = ROUTES[table]
    wanted = pinned.get(table)
    if wanted is None:
        routes = tuple(route for route in routes if route.door in doors)
        if not routes:
            raise ConfigError(f"{table}: {KEY_NEEDED}")
        return routes
    chosen = [route for route in routes if wanted in (route.name, route.path)]
    if not chosen:
        names = ", ".join(route.name for route in routes)
        raise ConfigError(f"{table} has no route {wanted}; it can be read from {names}")
    if chosen[0].door not in doors:
        raise ConfigError(f"{table} cannot be read from {wanted}: {_what_opens(chosen[0].door)}")
    return chosen


def served_tables(doors: Collection[Door]) -> list[str]:
    """Return the tables that have a route on these interfaces."""
    return [table for table, routes in ROUTES.items() if any(route.door in doors for route in routes)]


def _what_opens(door: Door) -> str:
    if door == "rest":
        return KEY_NEEDED
    return "log in first (orgx-sync login), or set ORGX_MCP_TOKEN" if has_mcp_package() else MCP_PACKAGE


def read_first_open(
    table: str,
    pinned: Mapping[str, str],
    read: Callable[[Route], Iterable[T]],
    closed: list[str],
    doors: Collection[Door] = REST,
    known: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[T]:
    """Yield rows from the first route that is open to this key.

    Args:
        table: Name of the table.
        pinned: Table name to the only route to use for it.
        read: Reads from a route.
        closed: Receives the routes that refused, with their status.
        doors: The interfaces that the settings allow.
        known: Routes that refused recently and are skipped, name to status.

    Raises:
        RouteClosedError: None is open.
        OrgxError: From ``read``, if the route is open and fails.
    """
    refusal: ApiError | None = None
    for route in choose_routes(table, pinned, doors):
        if route.name in known:
            closed.append(f"{route.name} ({known[route.name]})")
            continue
        try:
            yield from read(route)
            return
        except ApiError as error:
            if error.status not in CLOSED_STATUSES:
                raise
            logger.warning("%s: %s; trying the next route", table, error)
            closed.append(f"{route.name} ({error.status})")
            refusal = error
    if refusal is not None and refusal.exit_code == 3:
        raise refusal
    names = ", ".join(closed)
    raise RouteClosedError(
        f"{table}: no route is open to this key, although the key itself works ({names}). {refusal or ''}".strip(),
        status=refusal.status if refusal else 0,
        path=refusal.path if refusal else "",
    )


def ask_first_open(
    table: str,
    pinned: Mapping[str, str],
    ask: Callable[[Route], T],
    closed: list[str],
    doors: Collection[Door] = REST,
    known: Mapping[str, str] = MappingProxyType({}),
) -> T:
    """Return the result of the first route that is open to this key; see `read_first_open`."""
    return next(read_first_open(table, pinned, lambda route: [ask(route)], closed, doors, known))


def statuses(closed: Iterable[str]) -> dict[str, str]:
    """Return the routes that refused, name to status, from the list that `read_first_open` fills."""
    return {name: status.rstrip(")") for name, _, status in (each.rpartition(" (") for each in closed)}


def closed_note(closed: Iterable[str], since: str | None = None) -> str:
    """Return the note for an optional table without an open route.

    Args:
        closed: The routes that refused, with their status.
        since: When this was first seen, as ISO 8601.
    """
    when = f" since {since[:10]}" if since else ""
    return f"{NOT_OPEN}{when} ({', '.join(closed)})"


def tells_all(table: str, route: Route) -> bool:
    """Return whether a route returns complete rows; a table's later routes return some columns only."""
    return route is ROUTES[table][0]
