"""What change detection knows of each row: a mapping from ids that a million rows fit into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, MutableMapping
from datetime import datetime
from typing import NamedTuple

# Hashes are 64 bits in hexadecimal; anything else is no hash of ours, and equals none.
_HASH = re.compile(r"[0-9a-f]{16}")
_DELETED, _HASHED, _SEEN = 1, 2, 4
_HASH_AT, _WORKSPACE_AT = 3, 67
_HASH_MASK = 2**64 - 1


class KnownRow(NamedTuple):
    """What change detection needs of a row in the warehouse, or of its latest version in history.

    Attributes:
        row_hash: Hash of its values; empty when there is none.
        deleted: Whether it is marked as deleted.
        workspace: The workspace it names; None where it names none.
        since: From when on the version held; None for rows of the table itself.
    """

    row_hash: str
    deleted: bool = False
    workspace: str | None = None
    since: datetime | None = None


class KnownRows(MutableMapping[str, KnownRow]):
    """Id to row, without ``since``.

    Each row is one integer of workspace, hash and flags: 36 bytes, where the row itself with its texts has 230.

    Attributes:
        seen: How many of the rows a read has met since `forget_seen`.
    """

    def __init__(self, rows: Iterable[tuple[str, KnownRow]] = ()) -> None:
        self.seen = 0
        self._packed: dict[str, int] = {}
        self._workspaces: list[str | None] = [None]
        self._numbers: dict[str | None, int] = {None: 0}
        self.update(rows)

    def __getitem__(self, row_id: str) -> KnownRow:
        """Return a row.

        Raises:
            KeyError: It is not known.
        """
        return self._unpack(self._packed[row_id])

    def __setitem__(self, row_id: str, row: KnownRow) -> None:
        number = self._numbers.get(row.workspace)
        if number is None:
            number = self._numbers[row.workspace] = len(self._workspaces)
            self._workspaces.append(row.workspace)
        packed = number << _WORKSPACE_AT | self._packed.get(row_id, 0) & _SEEN | row.deleted
        if _HASH.fullmatch(row.row_hash):
            packed |= int(row.row_hash, 16) << _HASH_AT | _HASHED
        self._packed[row_id] = packed

    def __delitem__(self, row_id: str) -> None:
        del self._packed[row_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, row_id: object) -> bool:
        return row_id in self._packed

    def see(self, ids: Iterable[str]) -> None:
        """Note that a read has met these rows.

        Raises:
            KeyError: One of them is not known.
        """
        for row_id in ids:
            packed = self._packed[row_id]
            if not packed & _SEEN:
                self._packed[row_id] = packed | _SEEN
                self.seen += 1

    def unseen(self) -> list[str]:
        """Return the living rows that no read has met."""
        if self.seen == len(self._packed):
            return []
        return [row_id for row_id, packed in self._packed.items() if not packed & (_SEEN | _DELETED)]

    def count_living(self) -> int:
        """Return how many rows are not marked as deleted."""
        return sum(not packed & _DELETED for packed in self._packed.values())

    def forget_seen(self) -> None:
        """Begin a new read."""
        if self.seen:
            self._packed = {row_id: packed & ~_SEEN for row_id, packed in self._packed.items()}
            self.seen = 0

    def holds_none_of(self, ids: Iterable[str]) -> bool:
        """Return whether none of these is known."""
        return self._packed.keys().isdisjoint(ids)

    def _unpack(self, packed: int) -> KnownRow:
        row_hash = f"{packed >> _HASH_AT & _HASH_MASK:016x}" if packed & _HASHED else ""
        return KnownRow(row_hash, bool(packed & _DELETED), self._workspaces[packed >> _WORKSPACE_AT])
