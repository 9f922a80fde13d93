"""Marts in a notebook: says once where they are, and gives rows and tables out of them.

Only reads. A database is open while a question is answered and not longer, so a notebook that is left open stands in
nobody's way. Questions are SQL in which ``marts.x`` is a view and ``raw.x`` a table, as in ``marts/sql``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from orgx_source.errors import DestinationError, OrgxError
from orgx_source.explain import first_words, name_lock_holder
from orgx_source.marts import MARTS, RAW, load_marts, marts_in_order
from orgx_source.marts.apply import marts_dataset
from orgx_source.marts.reading import plain_value
from orgx_source.tables import Row
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.dialect import DUCKDB_FILE, Dialect, dialect_of
from orgx_source.warehouse.sql_names import names_in, replace
from orgx_source.warehouse.target import Target

ROWS_SHOWN = 50


class Answer(list[Row]):
    """Rows, as a notebook shows them: a table of at most fifty."""

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no rows</p>"
        head = "".join(f"<th>{escape(name)}</th>" for name in self[0])
        body = "".join(f"<tr>{''.join(map(_cell, row.values()))}</tr>" for row in self[:ROWS_SHOWN])
        more = f"<p>and {len(self) - ROWS_SHOWN:,} more rows</p>" if len(self) > ROWS_SHOWN else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

    def __repr__(self) -> str:
        lines = [" | ".join(self[0])] if self else ["no rows"]
        lines += [" | ".join(map(_text, row.values())) for row in self[:ROWS_SHOWN]]
        return "\n".join(lines)


class Marts:
    """The marts of one warehouse; made by `open_marts`."""

    def __init__(self, ask: Callable[[str], list[Row]]) -> None:
        self._ask = ask

    def rows(self, view: str) -> Answer:
        """Return every row of a view, in the order of its key: times in UTC, dates, numbers as int or float.

        Raises:
            DestinationError: There is no such view, or it cannot be read.
        """
        mart = load_marts().get(view)
        if mart is None:
            raise DestinationError(
                f"There is no mart {view!r}; there are: {', '.join(mart.name for mart in marts_in_order())}."
            )
        return self.query(f"select * from marts.{view} order by {', '.join(mart.key)}")

    def query(self, sql: str) -> Answer:
        """Return what a query finds.

        Args:
            sql: In the destination's own SQL, with ``marts.x`` for a view and ``raw.x`` for a table of the connector.

        Raises:
            ConfigError: The destination's settings cannot be used, or it gives no right to what is asked for.
            DestinationError: It refuses the query, or cannot be reached.
        """
        return Answer(self._ask(sql))


def open_marts(database: str = "orgx.duckdb", destination: str = "duckdb", dataset: str = "orgx") -> Marts:
    """Return the marts of a warehouse.

    Args:
        database: DuckDB file, looked for here and one directory up; only for DuckDB.
        destination: Name of a dlt destination, whose credentials dlt finds in its settings.
        dataset: Dataset (schema) of the tables; the marts lie beside it.

    Raises:
        DestinationError: There is no such file.
        ConfigError: There is no such destination; whether its settings can be used, the first query tells.
    """
    target = Target(destination, dataset)
    if not target.is_file:
        return Marts(partial(_ask_destination, target.pipeline(), dataset))
    path = next((place for place in (Path(database), Path("..", database)) if place.is_file()), None)
    if path is None:
        raise DestinationError(
            f"There is no {database} here. `orgx-sync run` fills orgx.duckdb, `make notebooks` makes orgx_year.duckdb."
        )
    return Marts(partial(_ask_file, path, dataset))


def _ask_file(path: Path, dataset: str, sql: str) -> list[Row]:
    import duckdb

    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute("set timezone = 'UTC'")
            # With the name of the database: a file orgx.duckdb and a schema orgx could both be meant by orgx.tasks.
            (catalog,) = connection.execute("select current_database()").fetchone() or ("",)
            found = connection.execute(_resolve(sql, DUCKDB_FILE, catalog, dataset))
            return _plain(found.description, found.fetchall())
    except duckdb.CatalogException as error:
        raise DestinationError(f"{_first_line(error)} Does `orgx-sync marts --database {path.name}` help?") from None
    except duckdb.Error as error:
        holder = name_lock_holder(error)
        busy = f"{path.name} is being written to; ask again in a moment. {holder}"
        raise DestinationError(busy if holder else str(error)) from None


def _ask_destination(pipeline: Any, dataset: str, sql: str) -> list[Row]:
    def ask(client: Any) -> list[Row]:
        dialect = dialect_of(client)
        resolved = _resolve(sql, dialect, client.catalog_name(quote=False), dataset)
        with dialect.snapshot(client), client.execute_query(resolved) as cursor:
            return _plain(cursor.description, cursor.fetchall())

    warehouse = Warehouse(pipeline)
    try:
        warehouse.require_sql("there are no marts in it")
        return warehouse.with_client(ask)
    except OrgxError:
        raise
    except Exception as error:
        raise DestinationError(first_words(error)) from None
    finally:
        warehouse.close()


def _resolve(sql: str, dialect: Dialect, catalog: str | None, dataset: str) -> str:
    """Return a question in which the two datasets are called by their full names."""
    prefix = f"{dialect.quote(catalog)}." if catalog else ""
    full = {word: prefix + dialect.quote(name) for word, name in ((RAW, dataset), (MARTS, marts_dataset(dataset)))}
    first_parts = [name.parts[0] for name in names_in(sql, dialect.name)]
    return replace(
        sql,
        [(part.start, part.end, full[part.name]) for part in first_parts if part.name in full and not part.is_quoted],
    )


def _plain(description: Iterable[Any], rows: Iterable[Any]) -> list[Row]:
    names = [column[0].lower() for column in description]
    return [dict(zip(names, map(plain_value, row), strict=True)) for row in rows]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _text(value: Any) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cell(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f'<td style="text-align: {"right" if is_number else "left"}">{escape(_text(value))}</td>'
