"""What the destination already holds, asked through dlt's SQL client: the only room that writes SQL by hand.

Everything here reads. A table or schema that does not exist yet reads as empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
from dlt.common.destination.exceptions import DestinationUndefinedEntity, SqlClientNotAvailable

from orgx_source.errors import DestinationError
from orgx_source.tables import Table

IDS_AT_ONCE = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KnownRow:
    """What change detection needs of a row in the warehouse."""

    row_hash: str
    deleted: bool = False


class Warehouse:
    """The dataset of one pipeline.

    All SQL runs in one thread of its own: dlt keeps its configuration contexts per thread, and those of the
    extraction's pool are shared and break when two tables open a connection at once.

    Attributes:
        can_be_asked: False for destinations without SQL; then every row that is read counts as changed.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="orgx-warehouse")
        self.can_be_asked = self._ask(self._has_sql)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True)

    def known_rows(self, table: Table) -> dict[str, KnownRow]:
        """Return id to hash of every row of a table, deleted ones included."""
        if not self.can_be_asked:
            return {}
        if table.append_only:
            rows = self._select(table, f"select {{{table.key}}} from {{table}}")
            return {row[0]: KnownRow("") for row in rows}
        rows = self._select(table, f"select {{{table.key}}}, {{_row_hash}}, {{deleted_at}} from {{table}}")
        return {row[0]: KnownRow(row[1] or "", row[2] is not None) for row in rows}

    def count_living(self, table: Table) -> int | None:
        """Return how many rows of a table OrgX still lists; None where the destination cannot be asked."""
        if not self.can_be_asked:
            return None
        where = "" if table.append_only else " where {deleted_at} is null"
        rows = self._select(table, "select count(*) from {table}" + where)
        return int(rows[0][0]) if rows else 0

    def fetch_rows(self, table: Table, ids: Iterable[str]) -> Iterator[pa.Table]:
        """Yield the stored rows with these ids, as Arrow tables without dlt's own columns."""
        remaining = iter(ids)
        while chunk := list(islice(remaining, IDS_AT_ONCE)):
            found = self._ask(self._fetch_chunk, table, chunk)
            if found is not None:
                yield found.drop_columns([c for c in found.column_names if c.startswith("_dlt_")])

    def _fetch_chunk(self, table: Table, ids: list[str]) -> Any:
        with self._client() as client:
            name, key = client.make_qualified_table_name(table.name), client.escape_column_name(table.key)
            marks = ", ".join(["%s"] * len(ids))
            with client.execute_query(f"select * from {name} where {key} in ({marks})", *ids) as cursor:
                return cursor.arrow()

    def _select(self, table: Table, sql: str) -> list[tuple[Any, ...]]:
        """Run a query in which ``{table}`` is the table and ``{column}`` an escaped column name."""
        return self._ask(self._fetch_all, table, sql)

    def _fetch_all(self, table: Table, sql: str) -> list[tuple[Any, ...]]:
        class Names(dict[str, str]):
            def __missing__(self, column: str) -> str:
                return str(client.escape_column_name(column))

        with self._client() as client:
            names = Names(table=client.make_qualified_table_name(table.name))
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
            with self._pipeline.sql_client() as client:
                yield client
        except (SqlClientNotAvailable, DestinationUndefinedEntity):
            raise
        except Exception as error:
            if not _is_connection_trouble(error):
                raise
            raise DestinationError(describe_trouble(error)) from None


def _is_connection_trouble(error: Exception) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"IOException", "ConnectionException", "OperationalError", "DestinationConnectionError"})


def describe_trouble(error: BaseException) -> str:
    """Return one sentence for a destination that cannot be opened; a DuckDB lock names who holds it."""
    text = " ".join(str(error).split())
    if "Could not set lock" in text or "Conflicting lock" in text:
        holder = text[text.find("Conflicting lock") :].split(". See")[0]
        return f"The DuckDB file is open in another process: {holder}. Close it there, or wait and run again."
    return f"The destination cannot be used: {text[:300]}"
