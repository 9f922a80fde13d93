"""Reads a DataFrame or rows of a mart for the charts: null counts as 0, and the last day is drawn to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Sequence[Row]
Data: TypeAlias = "DataFrame | Rows"
"""Input of a chart: a DataFrame from `notebook`, or the rows of the report, which does not need pandas."""

FINISHED = ("completed", "closed")
# "Recent" means four full weeks, so that every weekday counts equally.
RECENT_DAYS = 28


def rows_of(data: Data) -> Rows:
    """Return data as plain rows: dates, times in UTC, and None for any missing value."""
    if isinstance(data, Sequence):
        return data
    names = [str(name) for name in data.columns]
    columns = [_plain_values(name, data.iloc[:, place]) for place, name in enumerate(names)]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain_values(name: str, column: Series[Any]) -> list[Any]:
    values = zip(column.astype(object), column.isna(), strict=True)
    if not str(column.dtype).startswith("datetime64"):
        return [None if is_missing else value for value, is_missing in values]
    times = [None if is_missing else value.to_pydatetime() for value, is_missing in values]
    # pandas has no dtype for dates without a time.
    return [time and time.date() for time in times] if name == "day" or name.endswith("_on") else times


def until_tomorrow(rows: Rows) -> list[Row]:
    """Return ordered daily rows with the last one repeated a day later, so that a step chart draws it to its end."""
    return [*rows, {**rows[-1], "day": rows[-1]["day"] + timedelta(days=1)}]


def number(value: Any) -> float:
    """Return a number from a database as a float; null becomes 0."""
    return float(value or 0)


def count_tasks(row: Row) -> int:
    """Return the number of tasks of an initiative that were not dropped."""
    return int((row["tasks_total"] or 0) - (row["tasks_dropped"] or 0))


def in_use(order: Sequence[str], rows: Rows, column: str) -> list[str]:
    """Return the values that occur in a column, in the given order."""
    found = {row[column] for row in rows}
    return [value for value in order if value in found]
