"""Options shared by several commands, and their parameter types."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from orgx_source.tables import MEMORY_HITS, TABLES
from orgx_source.texts import unknown
from orgx_source.warehouse.target import Target

AGE_UNITS = {"m": "minutes", "h": "hours", "d": "days"}

HISTORIES = tuple(table.history for table in TABLES.values() if table.keeps_history)

Command = TypeVar("Command", bound=Callable[..., Any])


class TableName(click.ParamType[str]):
    """The name of an OrgX table, or of one of the given extra tables."""

    name = "table"

    def __init__(self, *more: str) -> None:
        self._names = (*TABLES, *more)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; fail with the known names."""
        if value not in self._names:
            self.fail(unknown("table", value, self._names, "tables"), param, ctx)
        return value


class DescribedName(TableName):
    """The name of a table or a mart."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; fail with the known names of tables."""
        if value not in self._names:
            # Imported only if needed: the marts are files, and slow down --help.
            from orgx_source.marts import load_marts

            if value in load_marts():
                return value
        return super().convert(value, param, ctx)


class RouteOfTable(click.ParamType[tuple[str, str]]):
    """A table and the route to read it from, as ``TABLE=NAME``."""

    name = "route"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return both; fail with the known tables or routes."""
        # The table of routes takes longer to import than all else that --help needs.
        from orgx_source.api.routes import ROUTES

        if isinstance(value, tuple):
            return value
        table, equals, route = value.partition("=")
        if not equals:
            self.fail(f"{value!r} must look like TABLE=NAME, such as tasks=mcp", param, ctx)
        if table not in ROUTES:
            self.fail(unknown("table", table, ROUTES, "tables"), param, ctx)
        names = [each.name for each in ROUTES[table]]
        if route not in names and route not in [each.path for each in ROUTES[table]]:
            self.fail(f"{table} has no route {route!r}; it can be read from {', '.join(names)}", param, ctx)
        return table, route


class Age(click.ParamType[timedelta]):
    """A time span such as ``90m``, ``26h`` or ``2d``; a number alone is hours."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration; fail with examples."""
        number, unit = (value[:-1], value[-1]) if value[-1:] in AGE_UNITS else (value, "h")
        try:
            age = timedelta(**{AGE_UNITS[unit]: float(number)})
            if age >= timedelta(0):
                return age
        except (ValueError, OverflowError):
            pass
        self.fail(f"{value!r} is not a valid duration; use 90m, 26h or 2d (hours if there is no unit)", param, ctx)


class Seconds(click.FloatRange):
    """A number of seconds."""

    name = "number of seconds"


class WholeNumber(click.IntRange):
    """A whole number in a range."""

    name = "whole number"


class Day(click.DateTime):
    """A date such as ``2026-09-01``."""

    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return midnight of the day; fail with an example."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a date such as 2026-09-01", param, ctx)


class _Name(click.ParamType[str]):
    """A name; dlt would replace an empty one."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; fail if it is empty."""
        if not value.strip():
            self.fail("the name is empty", param, ctx)
        return value


class _Place(click.Path):
    """A path; an empty one would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; fail if it is empty."""
        if not str(value).strip():
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


FILE = _Place(dir_okay=False, path_type=Path)
DIRECTORY = _Place(file_okay=False, path_type=Path)

only_tables = click.option(
    "--table",
    "tables",
    multiple=True,
    type=TableName(),
    metavar="NAME",
    help="Limit the command to this table; repeatable.",
)
tables_to_fill = click.option(
    "--table",
    "tables",
    multiple=True,
    type=TableName(MEMORY_HITS),
    metavar="NAME",
    help="Limit the command to this table; repeatable.",
)
routes = click.option(
    "--route",
    "routes",
    multiple=True,
    type=RouteOfTable(),
    metavar="TABLE=NAME",
    help="Read a table only from this route, a name that check prints, such as mcp; repeatable.",
)
workspace = click.option("--workspace", metavar="ID", help="Limit the command to this workspace.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else.")
quiet = click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
verbose = click.option("--verbose", "-v", is_flag=True, help="Log each retry, wait, route and traceback to stderr.")


_DEFAULT = Target()
_WHERE = (
    click.option(
        "--destination", type=_Name(), metavar="NAME", default=_DEFAULT.destination, help="Name of the dlt destination."
    ),
    click.option(
        "--dataset", type=_Name(), metavar="NAME", default=_DEFAULT.dataset, help="Dataset (schema) of the tables."
    ),
    click.option("--database", type=FILE, metavar="FILE", default=_DEFAULT.database, help="DuckDB file."),
    click.option(
        "--untested",
        is_flag=True,
        envvar="ORGX_UNTESTED",
        help="Allow an untested destination, that is, one other than DuckDB and PostgreSQL.",
    ),
)


def warehouse(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that locate the warehouse; the command receives them as one `Target`, ``target``."""

    @wraps(command)
    def with_target(*, destination: str, dataset: str, database: Path, untested: bool, **others: Any) -> Any:
        target = Target(destination, dataset, database, untested)
        target.require_folder()
        return command(target=target, **others)

    # The decorator applied first is listed last in the help.
    for option in reversed(_WHERE):
        with_target = option(with_target)
    return with_target
