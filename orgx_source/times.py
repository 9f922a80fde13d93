"""Times: OrgX's texts to UTC, and this machine's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any


def utc_now() -> datetime:
    """Return this machine's time in UTC."""
    return datetime.now(UTC)


def as_utc(moment: datetime) -> datetime:
    """Return a time in UTC; a time without an offset is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_timestamp(value: Any) -> datetime | None:
    """Parse an ISO 8601 text into a UTC time; None if it is not valid. Without an offset, it is UTC."""
    return _parse(value) if isinstance(value, str) else None


# Cached: ordering, cursor and version each parse a row's times.
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
    """Return the time, or one just after ``other`` if this machine's clock went back."""
    return moment if other is None or moment > other else other + timedelta(microseconds=1)
