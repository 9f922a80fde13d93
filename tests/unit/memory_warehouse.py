"""A warehouse in memory: it answers what change detection asks, and takes what it is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from orgx_source.reading.intake import Piece
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.rows.known_rows import KnownRow, KnownRows
from orgx_source.rows.shape import ARROW_TYPES
from orgx_source.tables import Table


class MemoryWarehouse:
    """Stands in for `Warehouse`.

    Attributes:
        rows: Id to row, as it was written last.
        history: Every version that was written.
        loads: Loads that were completed.
        in_doubt: What `versions_in_doubt` says.
        unfinished: Whether rows are of a load that was not completed.
    """

    can_be_asked = True
    trusted = True

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.loads: set[str] = set()
        self.in_doubt: dict[str, KnownRow] | None = None
        self.unfinished = False

    def write(self, pieces: Iterable[Piece], load_id: str) -> int:
        """Write pieces as a load would, and return how many rows they hold."""
        count = 0
        for piece in pieces:
            for row in piece.rows.to_pylist():
                count += 1
                if piece.history:
                    self.history.append(row)
                else:
                    self.rows[row["id"]] = row
        self.loads.add(load_id)
        return count

    def known_rows(self, table: Table, types: ColumnTypes) -> KnownRows:
        known = KnownRows()
        for row_id, row in self.rows.items():
            workspace = next((row[name] for name in table.workspace if row.get(name)), None)
            updated = row.get(table.updated)
            known[row_id] = KnownRow(
                row.get("_row_hash") or "",
                row.get("deleted_at") is not None,
                workspace,
                updated=updated.timestamp() if isinstance(updated, datetime) else None,
            )
        return known

    def doubled_versions(self, table: Table, types: ColumnTypes) -> Iterator[pa.Table]:
        return iter(())

    def has_unfinished_rows(self, table: Table) -> bool:
        return self.unfinished

    def versions_in_doubt(self, table: Table) -> dict[str, KnownRow] | None:
        return self.in_doubt

    def newest_stamp(self, table: Table) -> datetime | None:
        return max((row["last_changed_at"] for row in self.rows.values()), default=None)

    def ids_made_after(self, table: Table, types: ColumnTypes, moment: datetime, until: datetime) -> list[str]:
        made = {row_id: row.get(table.created) for row_id, row in self.rows.items() if row.get("deleted_at") is None}
        return [row_id for row_id, at in made.items() if at is not None and moment < at.astimezone(UTC) < until]

    def has_loads(self, load_ids: Sequence[str]) -> bool:
        return set(load_ids) <= set(self.loads)

    def fetch_rows(self, table: Table, ids: Iterable[str], types: ColumnTypes) -> Iterator[pa.Table]:
        found = [self.rows[row_id] for row_id in ids if row_id in self.rows]
        names = [name for name in types if any(name in row for row in found)]
        if found:
            yield pa.table(
                {name: pa.array([row.get(name) for row in found], ARROW_TYPES[types[name]]) for name in names}
            )

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        yield
