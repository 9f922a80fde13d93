"""How the charts read rows of a mart: a null counts as 0, and the last day lasts until its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Sequence[Row]

FINISHED = ("completed", "closed")
# What "recent" means: four whole weeks, so that every weekday counts as often.
RECENT_DAYS = 28


def until_tomorrow(rows: Rows) -> list[Row]:
    """Return rows of days, in order, with the last one repeated a day later: a step chart draws it to its end."""
    return [*rows, {**rows[-1], "day": rows[-1]["day"] + timedelta(days=1)}]


def number(value: Any) -> float:
    """Return a number from a database as a float; null is 0."""
    return float(value or 0)


def count_tasks(row: Row) -> int:
    """Return the tasks of an initiative that were not dropped."""
    return int((row["tasks_total"] or 0) - (row["tasks_dropped"] or 0))


def in_use(order: Sequence[str], rows: Rows, column: str) -> list[str]:
    """Return the values that a column has, in the given order."""
    found = {row[column] for row in rows}
    return [value for value in order if value in found]
