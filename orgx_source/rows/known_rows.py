"""Known rows for change detection: a compact mapping from ids, for a million rows."""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from math import isnan, nan
from operator import or_
from typing import NamedTuple

from orgx_source.rows.row_ids import RowIds

# Hashes are 64 bits in hexadecimal; anything else is not one of our hashes and equals none.
_HASH = re.compile(r"[0-9a-f]{16}")
_NO_HASH = "0" * 16
_DELETED, _HASHED, _SEEN, _GIVEN = 1, 2, 4, 8
_NOT_SEEN, _NOT_GIVEN = (bytes(flags & ~bit for flags in range(256)) for bit in (_SEEN, _GIVEN))


def is_row_hash(text: str | None) -> bool:
    """Return whether a stored text is one of our hashes."""
    return text is not None and _HASH.fullmatch(text) is not None


class KnownRow(NamedTuple):
    """The data that change detection needs about a row in the warehouse, or its latest version in history.

    Attributes:
        row_hash: Hash of its values; empty if there is none.
        deleted: Whether it is marked as deleted.
        workspace: The workspace it names; None if it names none.
        since: Start of the version; None for rows of the table itself.
        updated: OrgX's time of its last change, in Unix seconds; None if unknown.
    """

    row_hash: str
    deleted: bool = False
    workspace: str | None = None
    since: datetime | None = None
    updated: float | None = None


class KnownRows:
    """Id to row, without ``since``: columns with 21 bytes per row, instead of 230 for a row object with its texts.

    Attributes:
        seen: Number of rows that a read has met since `forget_seen`.
        doubled: Ids that are stored more than once.
    """

    def __init__(self, rows: Iterable[tuple[str, KnownRow]] = ()) -> None:
        self.seen = 0
        self.doubled: list[str] = []
        self._ids = RowIds()
        self._hashes = array("Q")
        self._flags = bytearray()
        self._workspaces = array("I")
        self._stamps = array("d")
        self._numbers: dict[str | None, int] = {None: 0}
        self._names: list[str | None] = [None]
        for row_id, row in rows:
            self[row_id] = row

    def __getitem__(self, row_id: str) -> KnownRow:
        """Return a row.

        Raises:
            KeyError: It is unknown.
        """
        row = self.get(row_id)
        if row is None:
            raise KeyError(row_id)
        return row

    def get(self, row_id: str) -> KnownRow | None:
        """Return a row; None if unknown."""
        place = self._ids.place(row_id)
        return None if place is None else self._row(place)

    def __setitem__(self, row_id: str, row: KnownRow) -> None:
        self.add([row_id], [row.row_hash], [row.workspace], [row.deleted], [row.updated])

    def give(self, row_id: str, row: KnownRow) -> None:
        """Set a row of the current load."""
        self.add([row_id], [row.row_hash], [row.workspace], [row.deleted], [row.updated], given=True)

    def is_given(self, row_id: str) -> bool:
        """Return whether the row is in the current load."""
        place = self._ids.place(row_id)
        return place is not None and bool(self._flags[place] & _GIVEN)

    def forget_given(self) -> None:
        """Start a new load."""
        self._flags = self._flags.translate(_NOT_GIVEN)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, row_id: object) -> bool:
        return row_id in self._ids

    def add(
        self,
        ids: Sequence[str],
        hashes: Sequence[str],
        workspaces: Sequence[str | None],
        deleted: Sequence[bool] | None = None,
        updated: Sequence[float | None] | None = None,
        *,
        given: bool = False,
    ) -> None:
        """Add rows; for known or duplicate ids, the last row wins.

        Args:
            ids: Their ids.
            hashes: Per row.
            workspaces: Per row.
            deleted: Per row; by default none is deleted.
            updated: Per row; by default unknown.
            given: Whether they are in the current load.
        """
        known = len(self._flags)
        self._ids.add(ids)
        numbers, flags = _numbers_of(hashes)
        flags = _flagged(flags, deleted, given=given)
        names = map(self._number, workspaces)
        stamps = [nan if stamp is None else stamp for stamp in updated] if updated is not None else [nan] * len(ids)
        if len(self._ids) == known + len(ids):
            self._hashes.extend(numbers)
            self._flags += flags
            self._workspaces.extend(names)
            self._stamps.extend(stamps)
            return
        for place, number, flag, name, stamp in zip(self._ids.places(ids), numbers, flags, names, stamps, strict=True):
            if place == len(self._flags):
                self._hashes.append(number)
                self._flags.append(flag)
                self._workspaces.append(name)
                self._stamps.append(stamp)
            elif place is not None:
                self._hashes[place] = number
                self._flags[place] = self._flags[place] & _SEEN | flag
                self._workspaces[place] = name
                self._stamps[place] = stamp

    def see(self, ids: Iterable[str]) -> None:
        """Record that a read has met these rows.

        Raises:
            KeyError: One of them is unknown.
        """
        flags = self._flags
        for place in self._ids.places(ids):
            if place is None:
                raise KeyError("a row that was met is unknown")
            if not flags[place] & _SEEN:
                flags[place] |= _SEEN
                self.seen += 1

    def unseen(self) -> list[str]:
        """Return the living rows that no read has met."""
        if self.seen == len(self._flags):
            return []
        return [row_id for row_id, flags in zip(self._ids, self._flags, strict=True) if not flags & (_SEEN | _DELETED)]

    def unseen_since(self, moment: float) -> list[str]:
        """Return the living rows that no read has met and that changed after a time.

        Args:
            moment: Unix seconds.
        """
        found = zip(self._ids, self._flags, self._stamps, strict=True)
        return [row_id for row_id, flags, stamp in found if stamp > moment and not flags & (_SEEN | _DELETED)]

    def is_unseen(self, row_id: str) -> bool:
        """Return whether this is a living row that no read has met."""
        place = self._ids.place(row_id)
        return place is not None and not self._flags[place] & (_SEEN | _DELETED)

    def is_seen(self, row_id: str) -> bool:
        """Return whether a read has met this row."""
        place = self._ids.place(row_id)
        return place is not None and bool(self._flags[place] & _SEEN)

    def count_living(self) -> int:
        """Return the number of rows not marked as deleted."""
        return sum(not flags & _DELETED for flags in self._flags)

    def forget_seen(self) -> None:
        """Start a new read."""
        if self.seen:
            self._flags = self._flags.translate(_NOT_SEEN)
            self.seen = 0

    def holds_none_of(self, ids: Iterable[str]) -> bool:
        """Return whether all of these are unknown."""
        return self._ids.isdisjoint(ids)

    def items(self) -> Iterator[tuple[str, KnownRow]]:
        """Iterate over ids and rows."""
        return zip(self._ids, self.values(), strict=True)

    def values(self) -> Iterator[KnownRow]:
        """Iterate over the rows."""
        return map(self._row, range(len(self._flags)))

    def _row(self, place: int) -> KnownRow:
        flags = self._flags[place]
        row_hash = f"{self._hashes[place]:016x}" if flags & _HASHED else ""
        stamp = self._stamps[place]
        workspace = self._names[self._workspaces[place]]
        return KnownRow(row_hash, bool(flags & _DELETED), workspace, updated=None if isnan(stamp) else stamp)

    def _number(self, workspace: str | None) -> int:
        number = self._numbers.get(workspace)
        if number is None:
            number = self._numbers[workspace] = len(self._names)
            self._names.append(workspace)
        return number


def _flagged(flags: bytearray, deleted: Sequence[bool] | None, *, given: bool) -> bytearray:
    if given:
        flags = bytearray(flag | _GIVEN for flag in flags)
    return flags if deleted is None else bytearray(map(or_, flags, deleted))


def _numbers_of(hashes: Sequence[str]) -> tuple[array[int], bytearray]:
    """Return hashes as numbers, and their flags: 0 and no flag for anything that is not one of our hashes."""
    ours = list(map(_HASH.fullmatch, hashes))
    together = "".join(text if found else _NO_HASH for text, found in zip(hashes, ours, strict=True))
    numbers = array("Q", bytes.fromhex(together))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers, bytearray(_HASHED if found else 0 for found in ours)
