"""The content of a load in two numbers per table, recorded in the package and compared with what arrived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import md5
from typing import Any

import pyarrow as pa

# The longest prefix that fits into a signed 64-bit integer, which every database can sum.
HEX_DIGITS = 15


@dataclass(slots=True)
class Handed:
    """Rows of one table in one load.

    Attributes:
        rows: Number of rows; keys are distinct.
        checksum: Sum of the first `HEX_DIGITS` digits of their hashes, as numbers.
    """

    rows: int = 0
    checksum: int = 0

    def add(self, rows: pa.Table, key: str) -> None:
        """Add the rows of an Arrow table; rows without a hash use the hash of their key.

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
        """Remove a row that a newer version replaces in the same load."""
        self.rows -= 1
        self.checksum -= as_number(row_hash)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for the state of a package; the sum is text, because it exceeds 64 bits."""
        return {**asdict(self), "checksum": str(self.checksum)}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Handed:
        """Return the value that `to_json` serialised."""
        return cls(int(stored["rows"]), int(stored["checksum"]))


def as_number(row_hash: str) -> int:
    """Return the number that a hash adds to the sum; 0 for none."""
    return int(row_hash[:HEX_DIGITS] or "0", 16)


def key_hash(row_id: str) -> str:
    """Return a hash of a key that databases can compute too; not used for security."""
    return md5(row_id.encode(), usedforsecurity=False).hexdigest()
