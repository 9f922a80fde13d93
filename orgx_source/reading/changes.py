"""Detects new and changed rows, and builds the Arrow tables for the table and its history.

It knows the warehouse's rows by id and hash; it neither reads OrgX nor decides about deletions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from orgx_source.api.envelope import Row
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.rows.known_rows import KnownRow, is_row_hash
from orgx_source.rows.shape import ARROW_TYPES, Shaper, row_hashes, same_json
from orgx_source.tables import TRACKING_COLUMNS, ColumnType, Table
from orgx_source.times import never_before
from orgx_source.warehouse.dataset import Warehouse

TIME = pa.timestamp("us", "UTC")
# Seconds: the precision that a time loses in databases and floating point.
SAME_TIME = 1e-5
BEGINNING_OF_TIME = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shaped:
    """Rows in the schema of their table.

    Attributes:
        rows: The values.
        ids, hashes, workspaces: Per row; a workspace is None if the row names none.
        updated: Per row, when it last changed, in Unix seconds; None if unknown.
    """

    rows: pa.Table
    ids: list[str]
    hashes: list[str]
    workspaces: list[str | None]
    updated: list[float | None]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to write.

    Attributes:
        rows: For the table.
        history: For its history; None if every version is stored already.
    """

    rows: pa.Table
    history: pa.Table | None


class Changes:
    """Compares rows with the warehouse, and remembers the rows it returned.

    Attributes:
        known: The rows that the warehouse will have after this read, by id.
        types: The types of the table's columns.
        new, changed: Number of rows returned.
        waiting: Positions in the last page of rows that must wait for the next load, because this one has an earlier
            version of them.
        replaced: Hashes of the versions replaced by newer ones in the same load.
        older: Rows received in a version older than the stored one: id to the received hash.
        believed: Such versions that are accepted because an earlier run received them too.
        met_older: Whether any row was received in such a version.
        newest_met, oldest_met: Latest and earliest change time of the rows received, in Unix seconds; the latter since
            `begin_pass`.
        since: Changes before this time are known, in Unix seconds; None for a full read.
        untraced: Number of rows that differ although their timestamp says that they did not change.
        went_back: Number of rows written in an older version that an earlier run had received too.
        confirming: Whether the current rows were requested by id.
    """

    def __init__(
        self,
        table: Table,
        warehouse: Warehouse,
        types: ColumnTypes,
        clock: Callable[[], datetime],
        *,
        once: bool = False,
        only: Sequence[str] | None = None,
    ) -> None:
        """Query the rows known to the warehouse.

        Args:
            table: The table.
            warehouse: Where it is.
            types: The types of its columns.
            clock: This machine's time in UTC.
            once: Whether a load may contain each row only once.
            only: Ids of the rows that will be received; others are not queried.
        """
        with warehouse.kept_open():
            if only is None:
                self.known = warehouse.known_rows(table, types)
                self._latest = warehouse.versions_in_doubt(table)
            else:
                self.known = warehouse.known_rows(table, types, only)
                self._latest = warehouse.latest_versions(table, only) if table.keeps_history else None
            self._stamp = warehouse.newest_stamp(table)
        self.new = self.changed = self.untraced = self.went_back = 0
        self.waiting: list[int] = []
        self.replaced: list[str] = []
        self.older: dict[str, str] = {}
        self.believed: dict[str, str] = {}
        self.met_older = False
        self.since: float | None = None
        self.newest_met: float | None = None
        self.oldest_met: float | None = None
        self.confirming = False
        self._once, self._table, self._warehouse = once, table, warehouse
        self.types = types
        self._shaper = Shaper(table, types)
        self._clock = clock
        self._mended: set[str] = set()
        self._volatile = [c.name for c in table.columns if c.volatile] + [c.name for c in TRACKING_COLUMNS]

    def distrust_table(self) -> None:
        """Treat every row as changed, whatever its stored hash; the history knows its versions."""
        if self._table.keeps_history and self._latest is None:
            self._latest = self._warehouse.latest_versions(self._table)
        for row_id, known in list(self.known.items()):
            self.known[row_id] = known._replace(row_hash="")

    @property
    def were_in_doubt(self) -> bool:
        """Return whether table and history may differ after an incomplete load."""
        return self._latest is not None

    def shape(self, rows: Sequence[Row], *, partial: bool = False) -> Shaped:
        """Shape and hash rows.

        Args:
            rows: Rows with an id, as OrgX sent them; at least one.
            partial: Whether the route returns only some columns; the others keep their stored values.
        """
        table = self._shaper.shape(rows)
        ids = table.column(self._table.key).to_pylist()
        if partial:
            table = self._filled(table, ids)
        workspaces: list[str | None] = [None] * len(ids)
        for name in self._table.workspace:
            # A value that is not text is not a workspace.
            if name in table.column_names and self.types[name] == "text":
                values = table.column(name).to_pylist()
                workspaces = [first or second for first, second in zip(workspaces, values, strict=True)]
        return Shaped(table, ids, row_hashes(table, self._volatile), workspaces, self._updated(table))

    def _updated(self, table: pa.Table) -> list[float | None]:
        name = self._table.updated
        if name not in table.column_names or self.types[name] != "timestamp":
            return [None] * table.num_rows
        return [None if value is None else value / 1e6 for value in table.column(name).cast(pa.int64()).to_pylist()]

    def take(self, shaped: Shaped) -> Batch | None:
        """Return the rows that are new or differ from the known ones; None if there are none."""
        self.waiting = []
        self._note_times(shaped.updated)
        if self._latest is None and self.known.holds_none_of(shaped.ids):
            return self._take_all(shaped)
        tampered = self._tampered(shaped)
        changed: list[int] = []
        to_history: list[int] = []
        frozen = self._table.append_only
        for index, (row_id, row_hash) in enumerate(zip(shaped.ids, shaped.hashes, strict=True)):
            known = self.known.get(row_id)
            differs = known is None or known.deleted or (not frozen and known.row_hash != row_hash)  # guard: revival
            unwritten = differs
            # The history has this version already.
            differs = differs or row_id in tampered  # guard: values-changed-by-hand
            if self._latest is not None:
                latest = self._latest.get(row_id)
                unwritten = latest is None or latest.deleted or latest.row_hash != row_hash
            if not (differs or unwritten):
                continue
            if known is not None and self._goes_back(known, shaped, index):  # guard: nothing-goes-back
                self.older[row_id] = row_hash
                self.met_older = True
                continue
            if self.known.is_given(row_id):
                if self._once:
                    self.waiting.append(index)
                    continue
                self.replaced.append(known.row_hash if known else "")
            self.new += known is None
            self.changed += known is not None
            self.untraced += self._is_before(shaped.updated[index])
            row = KnownRow(row_hash, workspace=shaped.workspaces[index], updated=shaped.updated[index])
            self.known.give(row_id, row)
            if unwritten:
                to_history.append(len(changed))
                if self._latest is not None:
                    self._latest[row_id] = KnownRow(row_hash)
            changed.append(index)
        if not changed:
            return None
        return self._stamped(shaped, changed, to_history)

    def begin_pass(self, since: datetime | None = None) -> None:
        """Begin another pass over the list.

        Args:
            since: Only changes since this time are read; None for a full read.
        """
        self.oldest_met, self.untraced = None, 0
        self.since = None if since is None else since.timestamp()

    def _is_before(self, stamp: float | None) -> bool:
        return stamp is not None and self.since is not None and stamp < self.since

    def _note_times(self, updated: Iterable[float | None]) -> None:
        stamps = [stamp for stamp in updated if stamp is not None]
        if stamps:
            self.newest_met = max(stamps) if self.newest_met is None else max(self.newest_met, *stamps)
            self.oldest_met = min(stamps) if self.oldest_met is None else min(self.oldest_met, *stamps)

    def _goes_back(self, known: KnownRow, shaped: Shaped, index: int) -> bool:
        """Return whether a row is older than the stored one, or as old as a deleted one: a lagging replica, or a cache.

        A deleted row that reappears with its last time may be restored; this is accepted only after requesting the row
        by id.
        """
        stamp, row_hash = shaped.updated[index], shaped.hashes[index]
        if stamp is None or known.updated is None:
            return False
        is_older = stamp < known.updated - SAME_TIME
        if known.deleted:
            is_older = is_older or (stamp <= known.updated + SAME_TIME and not self.confirming)
        else:
            is_older = is_older and known.row_hash != row_hash
        believed = self.believed.get(shaped.ids[index]) == row_hash
        self.went_back += is_older and believed
        return is_older and not believed

    def _take_all(self, shaped: Shaped) -> Batch:
        """Return the rows if no row is known: most of a first read."""
        self.new += len(shaped.ids)
        self.known.add(shaped.ids, shaped.hashes, shaped.workspaces, updated=shaped.updated, given=True)
        every = range(len(shaped.ids))
        return self._stamped(shaped, every, every)

    def _stamped(self, shaped: Shaped, changed: Sequence[int], to_history: Sequence[int]) -> Batch:
        table = shaped.rows.append_column("_row_hash", pa.array(shaped.hashes, pa.string()))
        if len(changed) < table.num_rows:
            table = table.take(pa.array(changed))
        table = _with_times(table, last_changed_at=self._next_stamp())
        if self._table.append_only:
            table = table.drop_columns(["_row_hash"])
        if not self._table.keeps_history:
            return Batch(table, None)
        history = table if len(to_history) == table.num_rows else table.take(pa.array(to_history, pa.int64()))
        return Batch(table, as_history(history) if history.num_rows else None)

    def _tampered(self, shaped: Shaped) -> set[str]:
        """Return the rows with the right stored hash but different stored values: manual changes.

        Each is reported once: rows returned by this read are not stored yet.
        """
        if self._warehouse.trusted or self._table.append_only:
            return set()
        found = self.differing(shaped, of_equal_hash=True).keys() - self._mended
        self._mended |= found
        return found

    def differing(self, shaped: Shaped, *, of_equal_hash: bool = False) -> dict[str, list[str]]:
        """Compare rows with the stored rows, value by value: the hash says what was written, not what is stored now.

        Args:
            shaped: The rows; of duplicates, the first counts.
            of_equal_hash: Whether to skip rows whose stored hash differs as well.

        Returns:
            Ids of the rows stored with other values, and the names of the columns that differ.
        """
        found: dict[str, list[str]] = {}
        place: dict[str, int] = {}
        for index, row_id in enumerate(shaped.ids):
            place.setdefault(row_id, index)
        ids = [row_id for row_id in place if row_id in self.known]
        with self._warehouse.kept_open():
            for stored in self._warehouse.fetch_rows(self._table, ids, self.types):
                has_claims = of_equal_hash and "_row_hash" in stored.column_names
                claims = stored.column("_row_hash").to_pylist() if has_claims else None
                for index, row_hash in enumerate(row_hashes(stored, self._volatile)):
                    row_id = stored.column(self._table.key)[index].as_py()
                    told = shaped.hashes[place[row_id]]
                    if row_hash != told and (claims is None or claims[index] == told):
                        pair = (shaped.rows.slice(place[row_id], 1), stored.slice(index, 1))
                        found[row_id] = self._columns_that_differ(*(rows.to_pylist()[0] for rows in pair))
        return {row_id: names for row_id, names in found.items() if names}

    def _columns_that_differ(self, row: Row, stored: Row) -> list[str]:
        names = (name for name in {**row, **stored} if name not in self._volatile)
        return [name for name in names if not self._are_equal(name, row.get(name), stored.get(name))]

    def _are_equal(self, name: str, value: Any, stored: Any) -> bool:
        if value is None or stored is None or self.types[name] != "json":
            return bool(value == stored)
        return same_json(value, stored)

    def delete(self, ids: Iterable[str], deleted_at: datetime, last_seen_at: datetime | None) -> Iterator[Batch]:
        """Yield the stored rows with these ids, marked as deleted."""
        for table in self._stored(ids):
            kept = table.drop_columns([c.name for c in TRACKING_COLUMNS[:3] if c.name in table.column_names])
            marked = _with_times(
                kept, last_changed_at=self._next_stamp(), deleted_at=deleted_at, last_seen_at=last_seen_at
            )
            unwritten = []
            for row_id in table.column(self._table.key).to_pylist():
                self.known.give(row_id, self.known[row_id]._replace(deleted=True))
                unwritten.append(not self._is_deleted_in_history(row_id))
                if self._latest is not None:
                    self._latest[row_id] = self.known[row_id]
            history = as_history(marked.filter(pa.array(unwritten))) if self._table.keeps_history else None
            yield Batch(marked, history if history is not None and history.num_rows else None)

    def _is_deleted_in_history(self, row_id: str) -> bool:
        """Return whether an incomplete load has written the deletion already."""
        version = None if self._latest is None else self._latest.get(row_id)
        return version is not None and version.deleted  # guard: deletion-of-a-lost-load

    def single_copies(self) -> Iterator[pa.Table]:
        """Yield the newest copy of each row that the warehouse has more than once."""
        for table in self._stored(self.known.doubled):
            newest: dict[str, tuple[datetime, int]] = {}
            ids, stamps = (table.column(name).to_pylist() for name in (self._table.key, "last_changed_at"))
            for place, (row_id, stamp) in enumerate(zip(ids, stamps, strict=True)):
                # A copy without a time counts as older than any with one.
                copy = (stamp or BEGINNING_OF_TIME, place)
                newest[row_id] = max(newest.get(row_id, copy), copy)
            kept = table.take(pa.array([place for _, place in newest.values()], pa.int64()))
            self._know_again(kept)
            yield kept

    def _know_again(self, rows: pa.Table) -> None:
        for row in rows.to_pylist():
            row_id = row[self._table.key]
            known = self.known[row_id]
            self.known.give(
                row_id,
                known._replace(row_hash=row.get("_row_hash") or "", deleted=row.get("deleted_at") is not None),
            )

    def missing_history(self) -> Iterator[pa.Table]:
        """Yield the stored rows whose version is missing from the history after an incomplete load."""
        if self._latest is None:
            return
        latest = self._latest
        lacking = [
            row_id
            for row_id, known in self.known.items()
            if (version := latest.get(row_id)) is None
            or (version.row_hash, version.deleted) != (known.row_hash, known.deleted)
        ]
        for table in self._stored(lacking):
            ids, stamps = (table.column(name).to_pylist() for name in (self._table.key, "last_changed_at"))
            # If the history is ahead of the table, OrgX will send the row again.
            behind = [
                (version := latest.get(row_id)) is None or version.since is None or version.since < stamp
                for row_id, stamp in zip(ids, stamps, strict=True)
            ]
            latest.update(
                {row_id: self.known[row_id] for row_id, is_behind in zip(ids, behind, strict=True) if is_behind}
            )
            if any(behind):
                yield as_history(table.filter(pa.array(behind)))

    def _stored(self, ids: Iterable[str]) -> Iterator[pa.Table]:
        """Yield stored rows to write again; a row that someone else inserted gets a hash."""
        for table in self._warehouse.fetch_rows(self._table, ids, self.types):
            place = table.column_names.index("_row_hash") if "_row_hash" in table.column_names else None
            stored = [] if place is None else table.column(place).to_pylist()
            if place is not None and not all(map(is_row_hash, stored)):  # guard: rows-of-someone-else
                pairs = zip(stored, row_hashes(table, self._volatile), strict=True)
                hashes = [text if is_row_hash(text) else computed for text, computed in pairs]
                table = table.set_column(place, "_row_hash", pa.array(hashes, pa.string()))
            yield table

    def undeclared(self, names: Iterable[str]) -> dict[str, ColumnType]:
        """Return the types of the undeclared columns."""
        return {name: self.types[name] for name in names if name in self.types and not self.types.is_declared(name)}

    def _filled(self, table: pa.Table, ids: list[str]) -> pa.Table:
        """Add the stored values of columns that a route lacks, so that a fallback route does not clear them."""
        known = [row_id for row_id in ids if row_id in self.known]
        pieces = list(self._warehouse.fetch_rows(self._table, known, self.types))
        if not pieces:
            return table
        stored = pa.concat_tables(pieces, promote_options="default")
        position = {row_id: index for index, row_id in enumerate(stored.column(self._table.key).to_pylist())}
        rows = pa.array([position.get(row_id) for row_id in ids], pa.int64())
        tracking = {column.name for column in TRACKING_COLUMNS}
        for name in stored.column_names:
            if name not in tracking and name not in table.column_names:
                table = table.append_column(name, stored.column(name).take(rows))
        return table

    def _next_stamp(self) -> datetime:
        """Return a time later than that of every version so far: the history relies on their order."""
        self._stamp = never_before(self._clock(), self._stamp)  # guard: order-of-versions
        return self._stamp


def empty_rows(table: Table) -> pa.Table:
    """Return an empty Arrow table in the schema of a table."""
    columns = [(column.name, ARROW_TYPES[column.type]) for column in table.stored_columns]
    return pa.schema([*columns, ("_dlt_load_id", pa.string())]).empty_table()


def as_history(table: pa.Table) -> pa.Table:
    """Return the rows of a table as versions for its history."""
    return table.rename_columns(["valid_from" if name == "last_changed_at" else name for name in table.column_names])


def _with_times(table: pa.Table, **moments: datetime | None) -> pa.Table:
    for name, moment in moments.items():
        table = table.append_column(name, pa.array([moment] * table.num_rows, TIME))
    return table
