"""Numbers ids in order of arrival: in a dict for few ids, with 28 bytes each for millions.

A dict of texts takes 130 bytes per id, and both a listing and the comparison with the warehouse hold every id of a
table.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Set
from hashlib import blake2b

# A dict is three times as fast, and takes 17 MB up to this size.
FEW = 2**17
_KEY_BYTES = 16
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class RowIds(Set[str]):
    """A set of ids with the position at which each was added: 0, 1, 2 and so on.

    Beyond `FEW`, an id is stored as the 128 bits of its UUID, or of a digest if it is not a UUID (then its text is kept
    too), behind a hash table of positions with open addressing.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._few: dict[str, int] | None = {}
        self._count = 0
        self._keys = bytearray()
        # Position + 1, or 0 for an empty slot; at least twice as many slots as ids.
        self._slots = array("I")
        self._texts: dict[int, str] = {}
        self.add(ids)

    def add(self, ids: Iterable[str]) -> None:
        """Number new ids in their order; known ids keep their position."""
        if self._few is not None:
            few = self._few
            for row_id in ids:
                if row_id not in few:
                    few[row_id] = len(few)
            self._count = len(few)
            if self._count > FEW:
                self._few = None
                self._count = 0
                self.add(few)
            return
        for row_id in ids:
            self._add(row_id)

    def places(self, ids: Iterable[str]) -> list[int | None]:
        """Return the position of each id; None for unknown ones."""
        if self._few is not None:
            return list(map(self._few.get, ids))
        return [self._find(_key(row_id))[0] for row_id in ids]

    def place(self, row_id: str) -> int | None:
        """Return the position of an id; None if unknown."""
        return self._find(_key(row_id))[0] if self._few is None else self._few.get(row_id)

    def isdisjoint(self, other: Iterable[str]) -> bool:
        """Return whether all of these are unknown."""
        if self._few is not None:
            return self._few.keys().isdisjoint(other)
        return not any(row_id in self for row_id in other)

    def __contains__(self, row_id: object) -> bool:
        return isinstance(row_id, str) and self.place(row_id) is not None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids by position."""
        if self._few is not None:
            yield from self._few
            return
        for place in range(self._count):
            text = self._texts.get(place)
            if text is None:
                key = self._keys[place * _KEY_BYTES : (place + 1) * _KEY_BYTES].hex()
                text = f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"
            yield text

    def _add(self, row_id: str) -> None:
        if 2 * self._count >= len(self._slots):
            self._make_room()
        key = _key(row_id)
        place, slot = self._find(key)
        if place is not None:
            return
        self._keys += key
        if not _UUID.fullmatch(row_id):
            self._texts[self._count] = row_id
        self._count += 1
        self._slots[slot] = self._count

    def _find(self, key: bytes) -> tuple[int | None, int]:
        """Return the position of a key and its slot; for an unknown key, a free slot."""
        slots, keys = self._slots, self._keys
        mask = len(slots) - 1
        slot = hash(key) & mask
        while number := slots[slot]:
            if keys[(number - 1) * _KEY_BYTES : number * _KEY_BYTES] == key:
                return number - 1, slot
            slot = (slot + 1) & mask
        return None, slot

    def _make_room(self) -> None:
        # A power of two, so that its mask reaches every slot.
        size = 2 * len(self._slots) or 1 << (2 * FEW).bit_length()
        self._slots = slots = array("I", bytes(4 * size))
        keys, mask = bytes(self._keys), size - 1
        for number in range(1, self._count + 1):
            slot = hash(keys[(number - 1) * _KEY_BYTES : number * _KEY_BYTES]) & mask
            while slots[slot]:
                slot = (slot + 1) & mask
            slots[slot] = number


def _key(row_id: str) -> bytes:
    if _UUID.fullmatch(row_id):
        return bytes.fromhex(row_id.replace("-", ""))
    return blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
