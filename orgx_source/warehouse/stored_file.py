"""Reads a DuckDB file for `status` without dlt, whose import takes longer than all the queries together."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from orgx_source.tables import SYNC_LOG, Table
from orgx_source.warehouse.dialect import DUCKDB_FILE


class UnknownFormError(Exception):
    """The file is open elsewhere, is not a database, or has a different state format: read it with dlt instead."""


class StoredFile:
    """The dataset in a DuckDB file, with the methods of `Warehouse` that `status` uses.

    Attributes:
        can_be_asked: Always True.
        dataset: Its name.
    """

    can_be_asked = True

    def __init__(self, file: Path, dataset: str) -> None:
        """Open the file for reading.

        Raises:
            UnknownFormError: It cannot be opened, or is not a database.
        """
        try:
            self._connection = duckdb.connect(str(file.resolve()), read_only=True)
        except duckdb.Error as error:
            raise UnknownFormError(str(error)) from None
        # With the database name, because orgx in orgx.tasks could be the file orgx.duckdb or the schema orgx.
        catalog = self._connection.execute("select current_database()").fetchall()[0][0]
        self._place = f"{DUCKDB_FILE.quote(catalog)}.{DUCKDB_FILE.quote(dataset)}"
        self.dataset = dataset
        self._columns: dict[str, set[str]] = {}
        found = self._connection.execute(
            "select table_name, column_name from duckdb_columns() where database_name = ? and schema_name = ?",
            [catalog, dataset],
        )
        for table, column in found.fetchall():
            self._columns.setdefault(table, set()).add(column)
        self._loads = {str(row[0]) for row in self._select("load_id", "_dlt_loads", "where status = 0")}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Do nothing: the file is open."""
        yield

    def states(self) -> dict[str, Any]:
        """Return the state of each table, as dlt stored it with the last load.

        Raises:
            UnknownFormError: The format is unknown.
        """
        stored = self._select("state, _dlt_load_id", "_dlt_pipeline_state", "order by _dlt_load_id desc")
        state = next((text for text, load_id in stored if load_id in self._loads), None)
        if state is None:
            return {}
        try:
            document = json.loads(zlib.decompress(base64.b64decode(state, validate=True)))
            states: dict[str, Any] = document.get("sources", {}).get("orgx", {}).get("resources", {})
        except (zlib.error, ValueError, AttributeError) as error:
            raise UnknownFormError(str(error)) from None
        return states

    def has_loads(self, load_ids: Sequence[str]) -> bool:
        """Return whether all these loads are complete."""
        return set(load_ids) <= set(self._loads)

    def describe(self, table: Table) -> tuple[int | None, int | None, datetime | None]:
        """Return the number of living and deleted rows, and the time of the newest version."""
        deleted = "0" if table.append_only else "count(deleted_at)"
        found = self._select(f"count(*), {deleted}, max(last_changed_at)", table.name)
        if not found:
            return 0, 0, None
        count, gone, changed = found[0]
        return int(count) - int(gone), int(gone), changed

    def read_log(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows of `sync_log`, oldest first, with its existing columns."""
        names = [name for name in columns if name in self._columns.get(SYNC_LOG, ())]
        rows = self._select(", ".join(names), SYNC_LOG, "order by started_at") if names else []
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _select(self, what: str, table: str, rest: str = "") -> list[tuple[Any, ...]]:
        if table not in self._columns:
            return []
        try:
            path = f"{self._place}.{DUCKDB_FILE.quote(table)}"
            return self._connection.execute(f"select {what} from {path} {rest}").fetchall()
        except duckdb.Error as error:
            raise UnknownFormError(str(error)) from None
