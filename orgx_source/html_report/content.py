"""What stands in the report: figures, pictures and tables, from rows of the marts. Reads nothing and knows no HTML."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from statistics import fmean, median
from typing import Any, TypeAlias

from orgx_source import charts
from orgx_source.charts.findings.decisions import longest_waiting
from orgx_source.charts.findings.initiatives import is_still, longest_still, not_closed_now
from orgx_source.charts.findings.rows import RECENT_DAYS, count_tasks, number
from orgx_source.charts.findings.wording import inflected, plural, say_days, say_hours, say_pct, say_shown
from orgx_source.html_report.facts import DAYS_SHOWN, MAX_ARTIFACTS, MAX_DECISIONS, Facts
from orgx_source.marts.reading import Row

Tone: TypeAlias = str
"""How a value is to be taken: ``good``, ``bad``, ``doubtful``, or nothing of these (empty)."""

MAX_TABLE_ROWS = 10
VERDICT_TONES = {"certified": "good", "repaired": "good", "uncertified": "doubtful"}
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at the head of the page.

    Attributes:
        label: What it counts.
        value: The number.
        note: What to hold it against.
        tone: How it is to be taken.
    """

    label: str
    value: str
    note: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """One chart with its finding.

    Attributes:
        name: Name of the function that drew it.
        finding: What the data say.
        how: How to read it.
        spec: The chart as Vega-Lite; None when there is nothing to draw.
    """

    name: str
    finding: str
    how: str
    spec: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table.

    Attributes:
        text: As it is shown.
        tone: How it is to be taken.
    """

    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        title: What it lists.
        how: How to read it.
        columns: Name of each column, and whether it holds numbers.
        rows: The cells.
    """

    title: str
    how: str
    columns: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        name: Its anchor.
        title: Its heading.
        parts: Pictures and tables, in order.
    """

    name: str
    title: str
    parts: Sequence[Picture | Table]


@dataclass(frozen=True, slots=True)
class Report:
    """The page.

    Attributes:
        organisation: Whose it is.
        as_of: The newest read; None when nothing was read yet.
        figures: The numbers at its head.
        sections: Its parts.
        notes: What a reader should know about all of it.
    """

    organisation: str
    as_of: datetime | None
    figures: Sequence[Figure]
    sections: Sequence[Section]
    notes: Sequence[str]


def compose(facts: Facts) -> Report:
    """Return what stands on the page."""
    sections = (
        [] if facts.as_of is None else [_initiatives(facts), _agents(facts), _decisions(facts), _artifacts(facts)]
    )
    return Report(
        _organisation(facts.workspaces),
        facts.as_of,
        [] if facts.as_of is None else list(_figures(facts)),
        [*sections, _health(facts)],
        list(_notes(facts)),
    )


def _organisation(workspaces: Sequence[str]) -> str:
    if len(workspaces) > 3:
        return f"{', '.join(workspaces[:2])} and {len(workspaces) - 2} more workspaces"
    return " and ".join([", ".join(workspaces[:-1]), workspaces[-1]] if len(workspaces) > 1 else workspaces) or "OrgX"


def _figures(facts: Facts) -> Iterable[Figure]:
    still = sum(is_still(row) for row in facts.initiatives)
    yield Figure("Open initiatives", f"{len(facts.initiatives):,}", f"{still:,} without a change for a week")
    done, total = _tasks(facts.progress)
    yield Figure("Tasks done", f"{done:,}", f"of {total:,} ({say_pct(done, total)})" if total else "there are none yet")
    recent, before = _windows(facts.days)
    waiting = [number(row["hours_waiting"]) for row in facts.waiting]
    yield Figure(
        "Decisions waiting", f"{len(waiting):,}", f"longest {say_hours(max(waiting))}" if waiting else "nobody is asked"
    )
    # Approvals are known from the first read on, and on its own day only what came after it.
    seen = [row for row in recent if row["artifacts_approved"] is not None]
    made = _sum(seen, "artifacts_produced")
    yield Figure(
        "Artifacts approved",
        f"{_sum(seen, 'artifacts_approved'):,.0f}" if len(seen) > 1 else "-",
        f"in {len(seen)} days, in which {made:,.0f} were made" if len(seen) > 1 else "seen from the second day on",
    )
    if any(row["cost_usd"] is not None for row in facts.days):
        earlier = f"; ${_sum(before, 'cost_usd'):,.2f} in the {RECENT_DAYS} before" if before else ""
        yield Figure("Cost", f"${_sum(recent, 'cost_usd'):,.2f}", f"in {RECENT_DAYS} days{earlier}")
    sure = sum(VERDICT_TONES.get(row["last_verdict"]) == "good" and not row["last_error"] for row in facts.health)
    yield Figure(
        "Tables known complete",
        f"{sure} of {len(facts.health)}",
        "by their last read" if sure == len(facts.health) else "see Sync health",
        "good" if sure == len(facts.health) else "doubtful",
    )


def _tasks(progress: Sequence[Row]) -> tuple[int, int]:
    """Return the tasks done, and those that are not dropped, in the initiatives that are not closed now."""
    kept = not_closed_now(progress)
    return sum(row["tasks_done"] or 0 for row in kept), sum(count_tasks(row) for row in kept)


def _windows(days: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return the last four weeks, and the four before where they are known from end to end."""
    ordered = sorted(days, key=lambda row: row["day"])
    before = ordered[-2 * RECENT_DAYS : -RECENT_DAYS]
    return ordered[-RECENT_DAYS:], before if len(before) == RECENT_DAYS else []


def _sum(rows: Sequence[Row], column: str) -> float:
    return sum(number(row[column]) for row in rows)


def _initiatives(facts: Facts) -> Section:
    return Section(
        "initiatives",
        "Initiatives",
        [
            _picture("burn_up", facts.progress),
            _picture("forecast", facts.progress),
            _picture("stalls", facts.initiatives),
            _picture("portfolio", facts.initiatives),
            _picture("progress_lines", facts.progress),
            _still_table(facts.initiatives),
        ],
    )


def _agents(facts: Facts) -> Section:
    return Section(
        "agents",
        "Agents",
        [
            _picture("throughput", facts.agent_days),
            _picture("timeline", facts.agent_times),
            _picture("blockages", facts.agent_times),
            _picture("cost_per_artifact", facts.agent_days),
        ],
    )


def _decisions(facts: Facts) -> Section:
    return Section(
        "decisions",
        "Decisions",
        [
            _picture("decisions_open", facts.days),
            _picture("decision_survival", facts.decisions),
            _picture("waiting_now", facts.waiting),
            _picture("decision_waits", facts.decisions),
            _waiting_table(facts.waiting),
        ],
    )


def _artifacts(facts: Facts) -> Section:
    return Section("artifacts", "Artifacts", [_artifact_table(facts.artifacts)])


def _health(facts: Facts) -> Section:
    return Section("sync-health", "Sync health", [_health_table(facts.health)])


def _picture(name: str, rows: Sequence[Row]) -> Picture:
    """Draw a chart, and take its title out of it: on the page a title is a heading, which breaks where it must."""
    spec = getattr(charts, name)(rows).to_dict()
    title = spec.pop("title")
    finding, how = (" ".join(_lines(title[part])) for part in ("text", "subtitle"))
    # What is dark on paper is light on a dark screen.
    how = how.replace("Dark line", "Line").replace("dark line", "line")
    if "layer" not in spec:
        # Without anything to draw, a chart is a single view with a text.
        return Picture(name, finding, how, None)
    empty = {key for key, values in spec.get("datasets", {}).items() if not values}
    # Vega complains of a scale without any value.
    spec["layer"] = [layer for layer in spec["layer"] if (layer.get("data") or {}).get("name") not in empty]
    return Picture(name, finding, how, spec)


def _lines(text: str | Sequence[str]) -> Sequence[str]:
    return [text] if isinstance(text, str) else text


def _still_table(initiatives: Sequence[Row]) -> Table:
    still = longest_still(row for row in initiatives if is_still(row))
    rows = [
        [
            Cell(row["title"] or NOTHING),
            Cell(row["status_group"], "bad" if row["status_group"] == "blocked" else ""),
            Cell(say_days(number(row["days_since_movement"])), "bad"),
            Cell(_share(row["tasks_done"], count_tasks(row))),
            Cell(_count(row["tasks_blocked"])),
            Cell(_count(row["decisions_pending"])),
            Cell(_day(row["due_on"]), "bad" if row["is_overdue"] else ""),
        ]
        for row in still[:MAX_TABLE_ROWS]
    ]
    columns = ("initiative", "status", "no change for", "tasks done", "tasks blocked", "decisions waiting", "due")
    title = f"Longest without a change: {_of(rows, still)}" if still else "No open initiative has been still for a week"
    how = "Open initiatives in which nothing changed for a week or more, counted to the last read."
    return Table(title, how, [(name, name not in ("initiative", "status")) for name in columns], rows)


def _waiting_table(waiting: Sequence[Row]) -> Table:
    rows = [
        [
            Cell(row["title"] or NOTHING),
            Cell(row["initiative_title"] or NOTHING),
            Cell(row["asked_by"] or NOTHING),
            Cell(row["urgency"], "bad" if row["urgency"] == "critical" else ""),
            Cell(_moment(row["asked_at"])),
            Cell(say_hours(number(row["hours_waiting"])), "bad" if row["is_overdue"] else ""),
            Cell((row["blocked_task_title"] or "a task") if row["blocks_task"] else NOTHING),
        ]
        for row in longest_waiting(waiting)[:MAX_TABLE_ROWS]
    ]
    columns = ("question", "initiative", "asked by", "urgency", "asked (UTC)", "waits for", "holds up")
    title = f"Longest waiting decisions: {_of(rows, waiting)}" if waiting else "No decision waits for anybody"
    how = "Questions that wait for a human, counted to the last read."
    return Table(title, how, [(name, name in ("asked (UTC)", "waits for")) for name in columns], rows)


def _artifact_table(artifacts: Sequence[Row]) -> Table:
    by_type: dict[str, list[Row]] = defaultdict(list)
    for row in artifacts:
        by_type[row["artifact_type"] or "no type"].append(row)
    order = sorted(by_type, key=lambda kind: (-len(by_type[kind]), kind))
    rows = []
    for kind in order[:MAX_TABLE_ROWS]:
        found = by_type[kind]
        hours = [row["hours_to_approval"] for row in found if row["hours_to_approval"] is not None]
        states = [row["status_group"] for row in found]
        rows.append(
            [
                Cell(kind),
                Cell(_count(len(found))),
                Cell(_share(sum(bool(row["is_approved"]) for row in found), len(found))),
                Cell(_count(states.count("in_review"))),
                Cell(_count(states.count("changes_requested"))),
                Cell(f"{say_hours(median(hours))} ({len(hours):,})" if hours else NOTHING),
                Cell(f"{fmean(number(row['revisions']) for row in found):.1f}"),
            ]
        )
    columns = ("type", "made", "approved", "in review", "changes requested", "median to approval", "revisions each")
    approved = sum(bool(row["is_approved"]) for row in artifacts)
    title = (
        f"{approved:,} of {plural(len(artifacts), 'artifact')} {inflected(approved, 'is', 'are')} approved"
        if artifacts
        else f"No artifact was made in the last {DAYS_SHOWN} days"
    )
    rest = say_shown(len(rows), len(order), "types with the most")
    how = f"Made in the last {DAYS_SHOWN} days. In brackets: approvals that were seen, the median is of these.{rest}"
    return Table(title, how, [(name, name != "type") for name in columns], rows)


def _health_table(health: Sequence[Row]) -> Table:
    rows = []
    for row in health:
        error, verdict = row["last_error"], row["last_verdict"]
        rows.append(
            [
                Cell(row["table_name"]),
                Cell(_moment(row["last_read_at"])),
                Cell(verdict or "never read", VERDICT_TONES.get(verdict, "bad")),
                Cell(_moment(row["last_whole_read_at"])),
                Cell(_count(row["rows_living"])),
                Cell(f"{row['runs_certified'] or 0:,} of {row['runs'] or 0:,}"),
                Cell(_lateness(row)),
                Cell(error or NOTHING, "bad" if error else ""),
            ]
        )
    columns = (
        "table", "last read (UTC)", "verdict", "last whole read (UTC)", "rows", "runs that were sure",
        "a change is seen after", "last error",
    )  # fmt: skip
    unsure = [
        row["table_name"] for row in health if VERDICT_TONES.get(row["last_verdict"]) != "good" or row["last_error"]
    ]
    title = f"In doubt: {', '.join(unsure)}" if unsure else f"All {len(health)} tables are known to be complete"
    if not health:
        title = "Nothing was read yet: orgx-sync run fills the warehouse"
    how = (
        "certified: complete, with evidence. repaired: the list moved while it was read, and every gap was closed. "
        "uncertified: evidence is missing. A change is seen after: median of the time from OrgX's stamp to the read."
        + "".join(map(_event_lag, health))
    )
    return Table(title, how, [(name, name not in ("table", "verdict", "last error")) for name in columns], rows)


def _event_lag(row: Row) -> str:
    """Return how long events took to become rows, as a sentence; empty where none came."""
    if not row["event_lag_count"]:
        return ""
    middle, most, worst = (number(row[f"event_lag_seconds_{name}"]) for name in ("p50", "p95", "worst"))
    return (
        f" Events of {row['table_name']}: rows in the warehouse after {middle:,.1f} s (median of "
        f"{row['event_lag_count']:,}), 95 % within {most:,.1f} s, worst {worst:,.1f} s."
    )


def _lateness(row: Row) -> str:
    return NOTHING if row["lateness_minutes_p50"] is None else say_hours(number(row["lateness_minutes_p50"]) / 60)


def _notes(facts: Facts) -> Iterable[str]:
    if facts.as_of is None:
        return
    yield (
        f"All times and days are UTC. Pictures show {_day(facts.since)} to {_day(facts.as_of.date())}, as far as that "
        "was read; ages and waiting times are counted to the last read."
    )
    if facts.in_doubt:
        yield (
            f"{plural(facts.in_doubt, 'time')} that OrgX states or should state cannot be believed and "
            f"{inflected(facts.in_doubt, 'counts', 'count')} as unknown: the view times_in_doubt lists "
            f"{inflected(facts.in_doubt, 'it', 'them')}."
        )
    if len(facts.decisions) == MAX_DECISIONS:
        yield f"How long decisions wait is told by the {MAX_DECISIONS:,} that were asked last."
    if len(facts.artifacts) == MAX_ARTIFACTS:
        yield f"Of the artifacts, the newest {MAX_ARTIFACTS:,} are counted."


def _of(shown: Sequence[Any], found: Sequence[Any]) -> str:
    return f"{len(shown):,}" if len(shown) == len(found) else f"{len(shown):,} of {len(found):,}"


def _count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def _share(part: int | None, whole: int) -> str:
    return f"{part or 0:,} of {whole:,} ({say_pct(part or 0, whole)})" if whole else NOTHING


def _day(day: date | None) -> str:
    return NOTHING if day is None else f"{day.day} {day:%b %Y}"


def _moment(moment: datetime | None) -> str:
    return NOTHING if moment is None else f"{moment.day} {moment:%b %Y, %H:%M}"
