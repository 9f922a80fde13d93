"""The warehouse in a notebook: marts, tables and queries as pandas DataFrames.

Read-only. The database is open only while a query runs, so an open notebook does not block a sync. In the SQL
of a query, ``marts.x`` is a mart and ``raw.x`` a table of the connector, as in ``marts/sql``. `marts.frames` has the
table of dtypes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from orgx_source.errors import ConfigError, DestinationError, OrgxError
from orgx_source.explain import first_words, name_lock_holder
from orgx_source.marts import MARTS, RAW, load_marts, marts_in_order
from orgx_source.marts.apply import marts_dataset, raw_columns
from orgx_source.tables import SYNC_LOG, TABLES
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.dialect import DUCKDB_FILE, Dialect, dialect_of
from orgx_source.warehouse.sql_names import names_in, replace
from orgx_source.warehouse.target import Target

if TYPE_CHECKING:
    from pandas import DataFrame

    from orgx_source.marts.frames import Answer

try:
    from orgx_source.marts import frames
except ImportError as error:
    raise ConfigError(f"Notebooks need the package {error.name!r}: pip install 'orgx-source[notebooks]'") from None

Ask: TypeAlias = "Callable[[str], Answer]"


class NothingThereError(DestinationError):
    """The database has no table or view with that name."""


class Raw:
    """The tables of the connector; `Marts.raw`."""

    def __init__(self, ask: Ask, dataset: str) -> None:
        self._ask = ask
        self._dataset = dataset

    def frame(self, table: str) -> DataFrame:
        """Return every row of a table, ordered by its key. ``attrs["columns"]`` describes the columns.

        Includes deleted rows, which have ``deleted_at``.

        Args:
            table: ``tasks``, or ``tasks_history`` and ``tasks_versions`` for every version, or ``sync_log``.

        Raises:
            DestinationError: There is no such table, or it cannot be read.
        """
        name = re.sub("_versions$", "_history", table)
        columns = raw_columns().get(name, ())
        key = _key(name)
        order = f" order by {', '.join(key)}" if key else ""
        try:
            if not re.fullmatch(r"\w+", table):
                raise NothingThereError
            found = frames.to_frame(self._ask(f"select * from {RAW}.{table}{order}"))
        except NothingThereError:
            known = ", ".join(sorted(raw_columns()))
            raise DestinationError(
                f"There is no table {table!r} in {self._dataset}. orgx-sync run creates: {known}."
            ) from None
        base = TABLES.get(name.removesuffix("_history"))
        return frames.describe_table(found, table, base.description if base else "", key, columns)


def _key(table: str) -> tuple[str, ...]:
    base = TABLES.get(table.removesuffix("_history"))
    if base is None:
        return ("run_id", "table_name") if table == SYNC_LOG else ()
    return (base.key,) if base.name == table else (base.key, "valid_from")


class Marts:
    """The marts of one warehouse; created by `open_marts`.

    Attributes:
        raw: The tables of the connector.
    """

    def __init__(self, ask: Ask, dataset: str) -> None:
        self._ask = ask
        self._dataset = marts_dataset(dataset)
        self.raw = Raw(ask, dataset)

    def views(self) -> DataFrame:
        """Return one row per mart: its name, grain, key and description."""
        shown = [mart for mart in load_marts().values() if not mart.is_staging]
        rows = [(mart.name, mart.grain, ", ".join(mart.key), mart.description) for mart in shown]
        return frames.to_frame(frames.Answer(("name", "grain", "key", "description"), ("text",) * 4, rows))

    def frame(self, view: str) -> DataFrame:
        """Return every row of a mart, ordered by its key.

        ``attrs`` holds the documentation of the mart: ``description``, ``grain``, ``key``, ``not_to_sum``, and
        ``columns`` with a description per column.

        Raises:
            DestinationError: There is no such mart, or it cannot be read.
        """
        mart = load_marts().get(view)
        if mart is None:
            raise DestinationError(
                f"Unknown mart {view!r}; known marts: {', '.join(mart.name for mart in marts_in_order())}."
            )
        try:
            answer = self._ask(f"select * from {MARTS}.{view} order by {', '.join(mart.key)}")
        except NothingThereError:
            raise DestinationError(
                f"There is no {self._dataset}.{view} yet. orgx-sync run creates the marts; orgx-sync marts creates "
                "them without a sync."
            ) from None
        return frames.describe_mart(frames.to_frame(answer, view), mart)

    def query(self, sql: str) -> DataFrame:
        """Return the result of a query.

        Args:
            sql: A query in the destination's SQL, with ``marts.x`` for a mart and ``raw.x`` for a table of the
                connector.

        Raises:
            ConfigError: The destination's settings cannot be used, or it denies permission.
            DestinationError: It rejects the query, or cannot be reached.
        """
        return frames.to_frame(self._ask(sql))


def open_marts(database: str = "orgx.duckdb", destination: str = "duckdb", dataset: str = "orgx") -> Marts:
    """Return the marts of a warehouse.

    Args:
        database: DuckDB file in this directory or its parent; only for DuckDB.
        destination: Name of a dlt destination; dlt reads its credentials from its settings.
        dataset: Dataset (schema) of the tables; the marts are in a dataset next to it.

    Raises:
        DestinationError: There is no such file.
        ConfigError: There is no such destination. Wrong credentials fail at the first query.
    """
    target = Target(destination, dataset)
    if not target.is_file:
        return Marts(partial(_ask_destination, target.pipeline(), dataset), dataset)
    path = next((place for place in (Path(database), Path("..", database)) if place.is_file()), None)
    if path is None:
        raise DestinationError(
            f"There is no {database} here. `orgx-sync run` fills orgx.duckdb, `orgx-sync demo` orgx_demo.duckdb and "
            "`make notebooks` orgx_year.duckdb."
        )
    return Marts(partial(_ask_file, path, dataset), dataset)


def _ask_file(path: Path, dataset: str, sql: str) -> Answer:
    import duckdb

    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute("set timezone = 'UTC'")
            # Qualified with the database: in orgx.tasks, orgx could be the file orgx.duckdb or the schema orgx.
            (catalog,) = connection.execute("select current_database()").fetchone() or ("",)
            found = connection.execute(_resolve(sql, DUCKDB_FILE, catalog, dataset))
            return frames.answer_of(found.description, found.fetchall())
    except duckdb.CatalogException as error:
        raise NothingThereError(
            f"{_first_line(error)} `orgx-sync marts --database {path.name}` creates missing marts."
        ) from None
    except duckdb.Error as error:
        holder = name_lock_holder(error)
        busy = f"{path.name} is being written to; try again in a moment. {holder}"
        raise DestinationError(busy if holder else str(error)) from None


def _ask_destination(pipeline: Any, dataset: str, sql: str) -> Answer:
    def ask(client: Any) -> Answer:
        dialect = dialect_of(client)
        resolved = _resolve(sql, dialect, client.catalog_name(quote=False), dataset)
        with dialect.snapshot(client), client.execute_query(resolved) as cursor:
            return frames.answer_of(cursor.description, cursor.fetchall())

    warehouse = Warehouse(pipeline)
    try:
        warehouse.require_sql("there are no marts in it")
        return warehouse.with_client(ask)
    except OrgxError:
        raise
    except Exception as error:
        is_missing = "DestinationUndefinedEntity" in {kind.__name__ for kind in type(error).__mro__}
        raise (NothingThereError if is_missing else DestinationError)(first_words(error)) from None
    finally:
        warehouse.close()


def _resolve(sql: str, dialect: Dialect, catalog: str | None, dataset: str) -> str:
    """Return a query with the full names of both datasets."""
    prefix = f"{dialect.quote(catalog)}." if catalog else ""
    full = {word: prefix + dialect.quote(name) for word, name in ((RAW, dataset), (MARTS, marts_dataset(dataset)))}
    first_parts = [name.parts[0] for name in names_in(sql, dialect.name)]
    return replace(
        sql,
        [(part.start, part.end, full[part.name]) for part in first_parts if part.name in full and not part.is_quoted],
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
