"""Runs one read-only query on the warehouse, for users without a database client.

A DuckDB file is opened without dlt, whose import takes longer than most queries.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TextIO, TypeVar

import duckdb

from orgx_source.errors import DestinationError, OrgxError
from orgx_source.explain import describe_trouble, foreseen, sqlstate, without_secrets
from orgx_source.tables import snake_case
from orgx_source.times import as_utc
from orgx_source.warehouse.sql_names import names_in, replace
from orgx_source.warehouse.target import Target

ROWS_AT_ONCE = 1_000
INSUFFICIENT_PRIVILEGE = "42501"

T = TypeVar("T")
Values = tuple[Any, ...]
Use = Callable[[Sequence[str], Iterator[Values]], T]
"""Called with the column names and the rows, while the warehouse is open."""


class QueryError(OrgxError):
    """The database rejects the query; the message is the database's."""

    exit_code = 2


def run_query(target: Target, sql: str, use: Use[T]) -> T:
    """Run a query and return what the caller makes of the result.

    Bare table names are looked up in the dataset first, then in its marts. Times are UTC.

    Args:
        target: Where the warehouse is.
        sql: One read-only statement.
        use: Takes the result.

    Raises:
        QueryError: It is not a single statement, would write, or fails.
        ConfigError: The destination does not support SQL.
        DestinationError: It cannot be opened.
    """
    if not sql.strip(" \t\r\n;"):
        raise QueryError("No query given. Pass one statement, such as 'select count(*) from tasks'.")
    if any("\ud800" <= character <= "\udfff" for character in sql):
        raise QueryError("The query is not valid UTF-8 text. Save or type it as UTF-8.")
    return _ask_file(target, sql, use) if target.is_file else _ask_server(target, sql, use)


def _ask_file(target: Target, sql: str, use: Use[T]) -> T:
    from orgx_source.warehouse.dialect import DUCKDB_FILE

    try:
        connection = duckdb.connect(str(target.database.resolve()), read_only=True)
    except duckdb.Error as error:
        raise foreseen(error) or DestinationError(describe_trouble(error)) from None
    try:
        catalog = connection.execute("select current_database()").fetchall()[0][0]
        path = ",".join(
            f"{DUCKDB_FILE.quote(catalog)}.{DUCKDB_FILE.quote(dataset)}" for dataset in _existing(connection, target)
        )
        # Last, and locked: a query can read only this file.
        for setting in (
            f"search_path = {DUCKDB_FILE.literal(path)}",
            "timezone = 'UTC'",
            "enable_external_access = false",
        ):
            connection.execute(f"set {setting}")
        connection.execute("set lock_configuration = true")
        try:
            statements = connection.extract_statements(_with_database(sql, catalog, snake_case(target.dataset)))
            _refuse_several(len(statements))
            answer = connection.execute(statements[0])
            columns = answer.description or ()
            documents = [number for number, column in enumerate(columns) if str(column[1]) == "JSON"]
            return use([column[0] for column in columns], _parsed(_batches(answer.fetchmany), documents))
        except duckdb.Error as error:
            raise _refusal(error) from None
    finally:
        connection.close()


def _existing(connection: duckdb.DuckDBPyConnection, target: Target) -> list[str]:
    """Return the dataset and its marts, if the file has them.

    Raises:
        DestinationError: It has neither.
    """
    dataset = snake_case(target.dataset)
    sql = "select schema_name from duckdb_schemas() where database_name = current_database() and not internal"
    found = [row[0] for row in connection.execute(sql).fetchall()]
    existing = [name for name in (dataset, f"{dataset}_marts") if name in found]
    if not existing:
        there = f"; it has {', '.join(sorted(found))}" if found else ""
        raise DestinationError(f"{target.database} has no dataset {dataset}{there}. --dataset selects another one")
    return existing


def _with_database(sql: str, catalog: str, dataset: str) -> str:
    """Qualify names such as ``orgx.tasks`` with the database name if the database is also called ``orgx``."""
    if catalog.lower() not in (dataset.lower(), f"{dataset}_marts".lower()):
        return sql
    # DuckDB ignores case, also in quotes.
    clashing = [
        name.parts[0].start
        for name in names_in(sql, "duckdb")
        if len(name.parts) == 2 and name.parts[0].name.lower() == catalog.lower()
    ]
    return replace(sql, [(start, start, f"{catalog}.") for start in clashing])


def _ask_server(target: Target, sql: str, use: Use[T]) -> T:
    from orgx_source.marts.apply import marts_dataset
    from orgx_source.warehouse.dataset import Warehouse

    warehouse = Warehouse(target.pipeline())
    try:
        warehouse.require_sql("there is nothing to query")

        def ask(client: Any) -> T:
            dataset = client.dataset_name
            path = ", ".join(map(client.capabilities.escape_identifier, (dataset, marts_dataset(dataset))))
            with suppress(Exception):
                client.execute_sql(f"set search_path = {path}")
            try:
                with client.execute_query(sql) as cursor:
                    columns = [column[0] for column in cursor.description or ()]
                    return use(columns, _batches(cursor.fetchmany) if columns else iter(()))
            except OrgxError:
                raise
            except Exception as error:
                failure = foreseen(error)
                # Permissions and connections must be fixed by an administrator; all other errors are in the query.
                raise (failure if failure is not None and not _is_of_the_query(error) else _refusal(error)) from None

        with warehouse.kept_open(), warehouse.snapshot():
            return warehouse.with_client(ask)
    finally:
        warehouse.close()


def _batches(fetch: Callable[[int], list[Values]]) -> Iterator[Values]:
    while rows := fetch(ROWS_AT_ONCE):
        yield from rows


def _parsed(rows: Iterator[Values], documents: Sequence[int]) -> Iterator[Values]:
    """Parse JSON columns, which DuckDB returns as text and PostgreSQL's driver already parsed."""
    for row in rows:
        yield tuple(
            json.loads(value) if number in documents and value is not None else value
            for number, value in enumerate(row)
        )


def _refuse_several(count: int) -> None:
    if count != 1:
        raise QueryError(f"Got {count} statements; query runs one at a time.")


def _is_of_the_query(error: BaseException) -> bool:
    code = sqlstate(getattr(error, "dbapi_exception", error)) or ""
    return code[:2] in ("22", "25", "42") and code != INSUFFICIENT_PRIVILEGE


def _refusal(error: BaseException) -> QueryError:
    """Return a database's error, without the carets that point at a position in the line above."""
    said = without_secrets(re.sub(r"\n\s*\^+\s*$", "", str(getattr(error, "dbapi_exception", error)).strip()))
    # Messages of DuckDB and PostgreSQL if a query would write, or read another file.
    if re.search(r"read-only|has been locked|disabled by configuration", said):
        return QueryError(f"query is read-only. {said}")
    return QueryError(said)


def write_csv(out: TextIO, columns: Sequence[str], rows: Iterator[Values]) -> None:
    """Write a result as CSV: times as ISO 8601 in UTC, nested values as JSON, null as an empty field."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if value is None else as_text(value) for value in row])


def write_json(out: TextIO, columns: Sequence[str], rows: Iterator[Values]) -> None:
    """Write a result as a JSON array of objects, one per line; duplicate column names are made unique."""
    names = _distinct(columns)
    out.write("[")
    for number, row in enumerate(rows):
        pairs = dict(zip(names, map(_as_json, row), strict=True))
        out.write((",\n " if number else "\n ") + json.dumps(pairs, ensure_ascii=True, default=str))
    out.write("\n]\n")


def _distinct(columns: Sequence[str]) -> list[str]:
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names


def as_text(value: Any) -> str:
    """Return a value as one line of text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(_as_json(value), ensure_ascii=False, default=str)
    if isinstance(value, bytes):
        return value.hex()
    simple = _as_json(value)
    return simple if isinstance(simple, str) else str(value)


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return as_utc(value).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(inner) for inner in value]
    return value if isinstance(value, int | float | str | bool | None) else str(value)
