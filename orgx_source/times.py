"""Times: OrgX's texts to UTC, and this machine's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any


def utc_now() -> datetime:
    """Return this machine's time in UTC."""
    return datetime.now(UTC)


def as_utc(moment: datetime) -> datetime:
    """Return a time in UTC; without an offset it is UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_timestamp(value: Any) -> datetime | None:
    """Return an ISO-8601 text as a UTC time, None when it is none; without an offset it is UTC."""
    return _parse(value) if isinstance(value, str) else None


# Order, cursor and version each look at a row's times again.
@lru_cache(4096)
def _parse(text: str) -> datetime | None:
    try:
        return as_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def iso_utc(moment: datetime) -> str:
    """Return a time as OrgX writes it: UTC, milliseconds, ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def never_before(moment: datetime, other: datetime | None) -> datetime:
    """Return the moment, or one just after ``other`` when this machine's clock went back."""
    return moment if other is None or moment > other else other + timedelta(microseconds=1)
