"""Turns rows as OrgX sent them into pieces to write: scope, shape, hash, comparison, history.

All sources of rows use it. It knows nothing about routes and cursors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from orgx_source.api.envelope import Row
from orgx_source.api.route_reader import row_keys
from orgx_source.reading.changes import Batch, Changes
from orgx_source.reading.scope import LocalIds, Sight, rows_in_workspace
from orgx_source.rows.handed import Handed
from orgx_source.rows.row_ids import RowIds
from orgx_source.tables import ColumnType, Table

# Arrow's cost per array is the same for one row and for a thousand, so many pages are shaped at once.
ROWS_AT_ONCE = 1_000
BATCH_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece to write.

    Attributes:
        rows: An Arrow table.
        history: Whether it belongs to the history of the table.
        undeclared: Types of the undeclared columns.
        replaces: Whether it replaces the stored rows with its keys; for history, which is otherwise append-only.
    """

    rows: pa.Table
    history: bool
    undeclared: dict[str, ColumnType]
    replaces: bool = False


class Intake:
    """Takes the rows of one table, and returns the new and changed ones.

    Attributes:
        size: Bytes returned since the stretch began, as counted by Arrow.
        newest: The latest change among all rows taken.
        partial: Whether rows have only some columns; the others keep their stored values.
        handed: The content of the load since the stretch began, by the name of the table in the warehouse.
        foreign: Ids of rows of other workspaces received despite the workspace filter, since the read began.
    """

    def __init__(
        self,
        table: Table,
        changes: Changes,
        sight: Sight,
        workspace_id: str | None = None,
        local: LocalIds | None = None,
        handed: dict[str, Handed] | None = None,
    ) -> None:
        """Create an intake.

        Args:
            table: The table.
            changes: Compares rows with the warehouse.
            sight: Records the workspaces of the rows.
            workspace_id: Accept rows of this workspace only.
            local: Makes ids unique; None if OrgX's ids are unique.
            handed: Records the content of a load.
        """
        self.size = 0
        self.newest: datetime | None = None
        self.partial = False
        self.handed: dict[str, Handed] = {} if handed is None else handed
        self.foreign = RowIds()
        self._table = table
        self._changes = changes
        self._sight = sight
        self._workspace_id = workspace_id
        self._local = local
        self._id_of = row_keys(table).id
        self._load_id = ""
        self._rows: list[Row] = []
        self._waiting: list[Row] = []
        self._batches: list[Batch] = []

    @property
    def rows_met(self) -> int:
        """Return the number of distinct rows in this read."""
        return self._changes.known.seen + len(self._rows)

    def begin(self, load_id: str) -> None:
        """Begin a stretch.

        Args:
            load_id: The load that will write the pieces from now on.
        """
        self._load_id, self.size = load_id, 0
        self.handed.clear()
        self._changes.known.forget_given()
        self._rows, self._waiting = self._waiting, []

    @property
    def has_waiting(self) -> bool:
        """Return whether rows wait for the next stretch because this one has an earlier version of them."""
        return bool(self._waiting)

    def take(self, rows: list[Row]) -> list[Piece]:
        """Take rows, and return the pieces to write immediately."""
        return [*self.gather(rows), *self.flush()]

    def gather(self, rows: list[Row]) -> Iterator[Piece]:
        """Take rows, and yield pieces once there are enough rows for one."""
        self._rows += rows
        if len(self._rows) >= ROWS_AT_ONCE:
            self._compare()
        if sum(batch.rows.num_rows for batch in self._batches) >= BATCH_ROWS:
            yield from self._hand_out()

    def flush(self) -> Iterator[Piece]:
        """Yield the pieces for all rows taken so far."""
        self._compare()
        yield from self._hand_out()

    def pieces(self, batches: Sequence[Batch]) -> Iterator[Piece]:
        """Yield batches as pieces: one for the table, one for its history."""
        if not batches:
            return
        yield self.piece([batch.rows for batch in batches])
        history = [batch.history for batch in batches if batch.history is not None]
        if history:
            yield self.piece(history, history=True)

    def piece(self, tables: Sequence[pa.Table], *, history: bool = False, replaces: bool = False) -> Piece:
        """Return tables as one piece, and record its content."""
        table = pa.concat_tables(tables, promote_options="default")
        self._count(table, self._table.history if history else self._table.name)
        undeclared = self._changes.undeclared(table.column_names)
        # dlt adds the load id to Arrow tables only with a setting.
        load_ids = pa.array([self._load_id] * table.num_rows, pa.string())
        return Piece(table.append_column("_dlt_load_id", load_ids), history, undeclared, replaces)

    def _count(self, rows: pa.Table, name: str) -> None:
        handed = self.handed.setdefault(name, Handed())
        handed.add(rows, self._table.key)
        if name == self._table.name:
            for row_hash in self._changes.replaced:
                handed.take_back(row_hash)
            self._changes.replaced.clear()

    def _hand_out(self) -> Iterator[Piece]:
        batches, self._batches = self._batches, []
        yield from self.pieces(batches)

    def _compare(self) -> None:
        came, self._rows = self._rows, []
        rows = rows_in_workspace(self._table, came, self._workspace_id)
        if len(rows) < len(came):
            kept = set(map(id, rows))
            self.foreign.add(filter(None, (self._id_of(row) for row in came if id(row) not in kept)))
        if not rows:
            return
        sent = rows
        if self._local is not None:
            rows = self._local.stored(rows)
        shaped = self._changes.shape(rows, partial=self.partial)
        runs = runs_without_repeats(shaped.ids)
        for start, stop in runs:
            # A row that changed during the read is received twice: two versions, in order.
            part = shaped if len(runs) == 1 else self._changes.shape(rows[start:stop], partial=self.partial)
            self._sight.note(part.workspaces)
            self.newest = max(filter(None, (self.newest, self._newest_of(part.rows))), default=None)
            batch = self._changes.take(part)
            self._waiting += [sent[start + index] for index in self._changes.waiting]
            self._changes.known.see(part.ids)
            if batch is not None:
                self.size += batch.rows.nbytes
                self._batches.append(batch)

    def _newest_of(self, rows: pa.Table) -> datetime | None:
        """Return the time of the latest change; rows without one use their creation time."""
        names = (self._table.updated, self._table.created)
        types = self._changes.types
        # If such a column is not declared, its type is that of its first value: text or a number.
        told = [rows.column(name) for name in names if name in rows.column_names and types[name] == "timestamp"]
        newest: datetime | None = pc.max(pc.coalesce(*told)).as_py() if told else None
        return newest


def runs_without_repeats(ids: Iterable[str]) -> list[tuple[int, int]]:
    """Return start and end of the longest runs, from the left, without a duplicate id."""
    runs: list[tuple[int, int]] = []
    met: set[str] = set()
    start = end = 0
    for end, row_id in enumerate(ids, 1):
        if row_id in met:
            runs.append((start, end - 1))
            start, met = end - 1, set()
        met.add(row_id)
    return [*runs, (start, end)] if end else runs
