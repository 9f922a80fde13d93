"""How the charts and the report put numbers, times and lengths of time into words."""

from __future__ import annotations

from datetime import date, datetime

from orgx_source.times import as_utc


def plural(count: int, noun: str) -> str:
    """Return ``1 task`` or ``2 tasks``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def inflected(count: int, one: str, many: str) -> str:
    """Return the form of a verb that goes with a count."""
    return one if count == 1 else many


def say_pct(part: float, whole: float) -> str:
    """Return ``40 %``; a part of nothing is ``0 %``."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def say_shown(shown: int, found: int, which: str) -> str:
    """Return `` The 25 longest still of 30.``, or nothing where all are shown.

    Args:
        shown: How many are shown.
        found: How many there are.
        which: Which of them are shown, such as ``longest still``.
    """
    return f" The {shown} {which} of {found}." if found > shown else ""


def say_day(day: date) -> str:
    """Return ``4 May``."""
    return f"{day.day} {day:%b}"


def say_time(moment: datetime) -> str:
    """Return ``4 May, 06:30 UTC``."""
    utc = as_utc(moment)
    return f"{utc.day} {utc:%b, %H:%M} UTC"


def say_hours(hours: float) -> str:
    """Return a length of time as people say it: ``54 min``, ``3.5 h``, ``2.4 d``."""
    if hours < 1:
        return f"{max(1, round(hours * 60))} min"
    if hours < 48:
        return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
    return f"{hours / 24:.1f} d" if hours < 240 else f"{hours / 24:.0f} d"


def say_days(days: float) -> str:
    """Return a number of days with one decimal where it matters."""
    return f"{days:.1f} d" if days < 10 else f"{days:.0f} d"
