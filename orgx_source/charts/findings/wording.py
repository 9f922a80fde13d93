"""Formats numbers, times and durations for the charts and the report."""

from __future__ import annotations

import re
from datetime import date, datetime

from orgx_source.times import as_utc

_BEFORE_UNIT = re.compile(r"(?<=\d) (?=%|(?:h|d|min)\b)")


def with_units(text: str) -> str:
    """Return a text in which no line break separates a number from its unit."""
    return _BEFORE_UNIT.sub("\u00a0", text)


def plural(count: int, noun: str) -> str:
    """Return ``1 task`` or ``2 tasks``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def inflected(count: int, one: str, many: str) -> str:
    """Return the form of a verb that agrees with a count."""
    return one if count == 1 else many


def say_pct(part: float, whole: float) -> str:
    """Return ``40 %``; ``0 %`` if the whole is 0."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def say_shown(shown: int, found: int, which: str) -> str:
    """Return `` Shown: 20 of 31, the longest waits.``, or an empty string if all are shown.

    Args:
        shown: The number shown.
        found: The number in total.
        which: Which of them are shown, such as ``the longest waits``.
    """
    return f" Shown: {shown} of {found}, {which}." if found > shown else ""


def say_day(day: date) -> str:
    """Return ``4 May``."""
    return f"{day.day} {day:%b}"


def say_time(moment: datetime) -> str:
    """Return ``4 May, 06:30 UTC``."""
    utc = as_utc(moment)
    return f"{utc.day} {utc:%b, %H:%M} UTC"


def say_hours(hours: float) -> str:
    """Return a duration in a readable unit: ``54 min``, ``3.5 h``, ``2.4 d``."""
    if hours < 1:
        return f"{max(1, round(hours * 60))} min"
    if hours < 48:
        return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
    return f"{hours / 24:.1f} d" if hours < 240 else f"{hours / 24:.0f} d"


def say_days(days: float) -> str:
    """Return a number of days, with one decimal below ten."""
    return f"{days:.1f} d" if days < 10 else f"{days:.0f} d"
