"""Common to all lists of OrgX: their order, and cursors as opaque text."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from orgx_source.sandbox.answers import RefusalError
from orgx_source.sandbox.world import Row


def sort_rows(rows: Iterable[Row], order: str, descending: bool) -> list[Row]:
    """Sort by one field; rows without it come last in both directions, ties are sorted by id."""
    field_name = "sequence" if order == "natural" else order
    rows = sorted(rows, key=lambda row: str(row["id"]), reverse=descending)
    having = [row for row in rows if row.get(field_name) is not None]
    without = [row for row in rows if row.get(field_name) is None]
    return sorted(having, key=lambda row: row[field_name], reverse=descending) + without


def make_cursor(offset: int) -> str:
    """Return the cursor for a position in a list."""
    return base64.urlsafe_b64encode(f"o:{offset}".encode()).decode()


def read_cursor(text: str | None) -> int:
    """Return the position in a list for a cursor.

    Raises:
        RefusalError: It is not a valid cursor.
    """
    if not text:
        return 0
    try:
        return int(base64.urlsafe_b64decode(text).decode().removeprefix("o:"))
    except ValueError:
        raise RefusalError(400, "invalid_input", "Not a cursor of this list.") from None
