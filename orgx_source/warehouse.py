"""What the destination already holds, asked through dlt's SQL client: the only room that writes SQL by hand.

Everything here reads. A table or schema that does not exist yet reads as empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from dlt.common.destination.exceptions import DestinationUndefinedEntity, SqlClientNotAvailable

from orgx_source.errors import ConfigError, DestinationError
from orgx_source.shape import ARROW_TYPES, canonical_json
from orgx_source.tables import ColumnType, Table

IDS_AT_ONCE = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KnownRow:
    """What change detection needs of a row in the warehouse."""

    row_hash: str
    deleted: bool = False


class _UndoError(Exception):
    """Leaves a transaction so that nothing of it stays."""


class Warehouse:
    """The dataset of one pipeline.

    All SQL runs in one thread of its own: dlt keeps its configuration contexts per thread, and those of the
    extraction's pool are shared and break when two tables open a connection at once.

    Attributes:
        can_be_asked: False for destinations without SQL; then every row that is read counts as changed.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._sql: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="orgx-warehouse")
        self.can_be_asked = self._ask(self._has_sql)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True)

    def check_names(self) -> None:
        """Refuse a DuckDB file and a dataset of one name: DuckDB cannot tell one from the other.

        Raises:
            ConfigError: They have.
        """
        if self.can_be_asked:
            self._ask(self._compare_names)

    def _compare_names(self) -> None:
        with self._client() as client:
            file = Path(str(getattr(client.credentials, "database", "")))
            two_part = client.catalog_name() is None and "duckdb" in type(client).__module__
            if two_part and file.name.partition(".")[0].lower() == client.dataset_name.lower():
                raise ConfigError(
                    f"DuckDB calls the file {file.name} by the name of the dataset, {client.dataset_name}, and then "
                    f"refuses to read its tables. Name one of them otherwise, such as "
                    f'destination=dlt.destinations.duckdb("{client.dataset_name}_warehouse.duckdb")'
                )

    def known_rows(self, table: Table) -> dict[str, KnownRow]:
        """Return id to hash of every row of a table, deleted ones included."""
        if not self.can_be_asked:
            return {}
        if table.append_only:
            rows = self._select(table.name, f"select {{{table.key}}} from {{table}}")
            return {row[0]: KnownRow("") for row in rows}
        rows = self._select(table.name, f"select {{{table.key}}}, {{_row_hash}}, {{deleted_at}} from {{table}}")
        return {row[0]: KnownRow(row[1] or "", row[2] is not None) for row in rows}

    def has_load(self, load_id: str) -> bool:
        """Return whether a load was completed here."""
        rows = self._select("_dlt_loads", "select {load_id} from {table} where {status} = 0")
        return any(row[0] == load_id for row in rows)

    def count_living(self, table: Table) -> int | None:
        """Return how many rows of a table OrgX still lists; None where the destination cannot be asked."""
        if not self.can_be_asked:
            return None
        where = "" if table.append_only else " where {deleted_at} is null"
        rows = self._select(table.name, "select count(*) from {table}" + where)
        return int(rows[0][0]) if rows else 0

    def describe(self, table: Table) -> tuple[int | None, int | None, datetime | None]:
        """Return how many rows OrgX still lists, how many it does no more, and when the newest version came."""
        if not self.can_be_asked:
            return None, None, None
        deleted = "0" if table.append_only else "count({deleted_at})"
        rows = self._select(table.name, f"select count(*), {deleted}, max({{last_changed_at}}) from {{table}}")
        if not rows:
            return 0, 0, None
        count, gone, changed = rows[0]
        return int(count) - int(gone), int(gone), changed

    def check_writable(self) -> None:
        """Create a table in the dataset and take it back.

        Raises:
            DestinationError: That was refused.
        """
        if self.can_be_asked:
            self._ask(self._try_write)

    def _try_write(self) -> None:
        with self._client() as client:
            if not client.capabilities.supports_ddl_transactions:
                client.has_dataset()
                return
            try:
                with client.begin_transaction():
                    if not client.has_dataset():
                        client.create_dataset()
                    client.execute_sql(f"create table {client.make_qualified_table_name('_orgx_check')} (id integer)")
                    raise _UndoError
            except _UndoError:
                pass
            except Exception as error:
                raise DestinationError(describe_trouble(error)) from None

    def fetch_rows(self, table: Table, ids: Iterable[str], types: Mapping[str, ColumnType]) -> Iterator[pa.Table]:
        """Yield the stored rows with these ids as Arrow tables, without dlt's own columns.

        Args:
            table: The table.
            ids: Keys of the rows.
            types: Column name to type.
        """
        remaining = iter(ids)
        while chunk := list(islice(remaining, IDS_AT_ONCE)):
            names, rows = self._ask(self._fetch_chunk, table, chunk)
            columns = zip(names, zip(*rows, strict=True), strict=True) if rows else ()
            yield pa.table({name: _stored(types[name], values) for name, values in columns if name in types})

    def _fetch_chunk(self, table: Table, ids: list[str]) -> tuple[list[str], list[tuple[Any, ...]]]:
        with self._client() as client:
            name, key = client.make_qualified_table_name(table.name), client.escape_column_name(table.key)
            marks = ", ".join(["%s"] * len(ids))
            with client.execute_query(f"select * from {name} where {key} in ({marks})", *ids) as cursor:
                return [column[0] for column in cursor.description], list(cursor.fetchall())

    def _select(self, table_name: str, sql: str) -> list[tuple[Any, ...]]:
        """Run a query in which ``{table}`` is the table and ``{column}`` an escaped column name."""
        return self._ask(self._fetch_all, table_name, sql)

    def _fetch_all(self, table_name: str, sql: str) -> list[tuple[Any, ...]]:
        class Names(dict[str, str]):
            def __missing__(self, column: str) -> str:
                return str(client.escape_column_name(column))

        with self._client() as client:
            names = Names(table=client.make_qualified_table_name(table_name))
            try:
                with client.execute_query(sql.format_map(names)) as cursor:
                    return list(cursor.fetchall())
            except DestinationUndefinedEntity:
                return []

    def _has_sql(self) -> bool:
        try:
            with self._client():
                return True
        except SqlClientNotAvailable:
            return False

    def _ask(self, work: Callable[..., T], *args: Any) -> T:
        return self._thread.submit(work, *args).result()

    @contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            if self._sql is None:
                self._sql = self._pipeline.sql_client()
            # Open only while something is asked: between two questions the file belongs to whoever needs it.
            with self._sql as client:
                yield client
        except (SqlClientNotAvailable, DestinationUndefinedEntity):
            raise
        except Exception as error:
            if not is_connection_trouble(error):
                raise
            raise DestinationError(describe_trouble(error)) from None


def _stored(column_type: ColumnType, values: Sequence[Any]) -> pa.Array:
    """Return what a driver gave for one column as it was loaded: drivers parse JSON and widen numbers."""
    if column_type == "json":
        values = [value if value is None or isinstance(value, str) else canonical_json(value) for value in values]
    elif column_type == "double":
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, ARROW_TYPES[column_type])


def is_connection_trouble(error: BaseException) -> bool:
    """Return whether the destination could not be opened, in whatever class its driver says so."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"IOException", "ConnectionException", "OperationalError", "DestinationConnectionError"})


def describe_trouble(error: BaseException) -> str:
    """Return one sentence for a destination that cannot be opened; a DuckDB lock names who holds it."""
    text = " ".join(str(error).split())
    if "Could not set lock" in text or "Conflicting lock" in text:
        holder = text[text.find("Conflicting lock") :].split(". See")[0]
        return f"The DuckDB file is open in another process: {holder}. Close it there, or wait and run again."
    return f"The destination cannot be used: {text[:300]}"
