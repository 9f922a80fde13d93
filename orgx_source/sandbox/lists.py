"""What every list of OrgX has: an order, and places in it that travel as opaque texts."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from orgx_source.sandbox.answers import RefusalError
from orgx_source.sandbox.world import Row


def sort_rows(rows: Iterable[Row], order: str, descending: bool) -> list[Row]:
    """Sort by one field, rows without it last whatever the direction, ties by id."""
    field_name = "sequence" if order == "natural" else order
    rows = sorted(rows, key=lambda row: str(row["id"]), reverse=descending)
    having = [row for row in rows if row.get(field_name) is not None]
    without = [row for row in rows if row.get(field_name) is None]
    return sorted(having, key=lambda row: row[field_name], reverse=descending) + without


def make_cursor(offset: int) -> str:
    """Return the opaque text for a place in a list."""
    return base64.urlsafe_b64encode(f"o:{offset}".encode()).decode()


def read_cursor(text: str | None) -> int:
    """Return the place in a list for an opaque text.

    Raises:
        RefusalError: It is none of ours.
    """
    if not text:
        return 0
    try:
        return int(base64.urlsafe_b64decode(text).decode().removeprefix("o:"))
    except ValueError:
        raise RefusalError(400, "invalid_input", "Not a cursor of this list.") from None
