"""How the charts read rows of a mart: a null counts as 0, and the last day lasts until its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

Rows: TypeAlias = Sequence[Mapping[str, Any]]


def until_tomorrow(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rows of days, in order, with the last one drawn to its end."""
    return [*rows, {**rows[-1], "day": rows[-1]["day"] + timedelta(days=1)}]


def number(value: Any) -> float:
    """Return a number of a database as a float; null is 0."""
    return float(value or 0)
