"""What a load is handed, in three numbers per table: written into the package, and held against what arrived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import md5
from typing import Any

import pyarrow as pa

# The longest that fits into a signed integer of 64 bits, which every database adds up.
HEX_DIGITS = 15


@dataclass(slots=True)
class Handed:
    """Rows of one table in one load.

    Attributes:
        rows: How many; no key comes twice.
        checksum: Sum of their hashes' first `HEX_DIGITS` digits, read as numbers.
    """

    rows: int = 0
    checksum: int = 0

    def add(self, rows: pa.Table, key: str) -> None:
        """Add the rows of an Arrow table; where they carry no hash, that of the key stands for the row.

        Args:
            rows: The rows.
            key: Name of the key column.
        """
        if "_row_hash" in rows.column_names:
            hashes: Iterable[str] = rows.column("_row_hash").to_pylist()
        else:
            hashes = (key_hash(row_id) for row_id in rows.column(key).to_pylist())
        self.rows += rows.num_rows
        self.checksum += sum(map(as_number, hashes))

    def take_back(self, row_hash: str) -> None:
        """Take out a row that a newer version of it replaces in the same load."""
        self.rows -= 1
        self.checksum -= as_number(row_hash)

    def to_json(self) -> dict[str, Any]:
        """Return it for the state of a package; the sum as text, because it outgrows 64 bits."""
        return {**asdict(self), "checksum": str(self.checksum)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Handed:
        """Return what `to_json` gave."""
        return cls(int(stored["rows"]), int(stored["checksum"]))


def as_number(row_hash: str) -> int:
    """Return the number that a hash adds to the sum; 0 when there is none."""
    return int(row_hash[:HEX_DIGITS] or "0", 16)


def key_hash(row_id: str) -> str:
    """Return a hash of a key that databases know too; no secret hangs on it."""
    return md5(row_id.encode(), usedforsecurity=False).hexdigest()
