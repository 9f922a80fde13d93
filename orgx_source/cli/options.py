"""Options that several commands share, and the kinds of values that only this command knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from orgx_source.api.routes import ROUTES
from orgx_source.tables import MEMORY_HITS, TABLES
from orgx_source.warehouse.target import Target

AGE_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

Command = TypeVar("Command", bound=Callable[..., Any])


class TableName(click.ParamType[str]):
    """The name of a table of OrgX, or one of a few more."""

    name = "table"

    def __init__(self, *more: str) -> None:
        self._names = (*TABLES, *more)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or say which there are."""
        if value not in self._names:
            self.fail(f"there is no table {value!r}; there are {', '.join(self._names)}", param, ctx)
        return value


class RouteOfTable(click.ParamType[tuple[str, str]]):
    """A table and the route to read it from, as ``TABLE=NAME``."""

    name = "route"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return both, or say which there are."""
        if isinstance(value, tuple):
            return value
        table, _, route = value.partition("=")
        if table not in ROUTES:
            self.fail(f"there is no table {table!r}; there are {', '.join(ROUTES)}", param, ctx)
        names = [each.name for each in ROUTES[table]]
        if route not in names and route not in [each.path for each in ROUTES[table]]:
            self.fail(f"{table} has no route {route!r}; it can be read from {', '.join(names)}", param, ctx)
        return table, route


class Age(click.ParamType[timedelta]):
    """A time span such as ``90m``, ``26h`` or ``2d``; a number alone is hours."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the span, or say how one is written."""
        number, unit = (value[:-1], value[-1]) if value[-1:] in AGE_UNITS else (value, "h")
        try:
            age = timedelta(**{AGE_UNITS[unit]: float(number)})
            if age >= timedelta(0):
                return age
        except (ValueError, OverflowError):
            pass
        self.fail(f"{value!r} is not a valid duration; use 90m, 26h or 2d (hours if there is no unit)", param, ctx)


FILE = click.Path(dir_okay=False, path_type=Path)
DIRECTORY = click.Path(file_okay=False, path_type=Path)

only_tables = click.option(
    "--table", "tables", multiple=True, type=TableName(), metavar="NAME", help="Only this table; repeatable."
)
tables_to_fill = click.option(
    "--table",
    "tables",
    multiple=True,
    type=TableName(MEMORY_HITS),
    metavar="NAME",
    help="Only this table; may be given often.",
)
routes = click.option(
    "--route",
    "routes",
    multiple=True,
    type=RouteOfTable(),
    metavar="TABLE=NAME",
    help="Read a table from this route only, by the name that check shows, such as mcp; may be given often.",
)
workspace = click.option("--workspace", metavar="ID", help="Only this workspace.")
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there."
)
quiet = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
verbose = click.option("--verbose", "-v", is_flag=True, help="Log each retry, wait, route and traceback to stderr.")


_DEFAULT = Target()
_WHERE = (
    click.option("--destination", metavar="NAME", default=_DEFAULT.destination, help="A dlt destination."),
    click.option("--dataset", metavar="NAME", default=_DEFAULT.dataset, help="Dataset (schema) of the tables."),
    click.option("--database", type=FILE, metavar="FILE", default=_DEFAULT.database, help="DuckDB file."),
    click.option(
        "--untested",
        is_flag=True,
        envvar="ORGX_UNTESTED",
        help="Allow a destination that was never tested, other than DuckDB and PostgreSQL.",
    ),
)


def warehouse(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the warehouse is; the command gets them as one `Target`, called ``target``."""

    @wraps(command)
    def with_target(*, destination: str, dataset: str, database: Path, untested: bool, **others: Any) -> Any:
        return command(target=Target(destination, dataset, database, untested), **others)

    # A decorator that comes first stands last in the help.
    for option in reversed(_WHERE):
        with_target = option(with_target)
    return with_target
