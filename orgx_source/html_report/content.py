"""The content of the report: figures, charts and tables from rows of the marts. No reading, no HTML."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from statistics import fmean, median
from typing import Any, TypeAlias

from orgx_source import charts
from orgx_source.charts.findings.decisions import LEAST_CASES
from orgx_source.charts.findings.initiatives import is_still, longest_still, not_closed_now
from orgx_source.charts.findings.rows import RECENT_DAYS, count_tasks, number
from orgx_source.charts.findings.wording import inflected, plural, say_days, say_hours, say_pct, say_shown
from orgx_source.html_report.facts import DAYS_SHOWN, MAX_ARTIFACTS, MAX_DECISIONS, Facts
from orgx_source.marts.reading import Row
from orgx_source.tables import OPTIONAL_TABLES

Tone: TypeAlias = str
"""How to mark a value: ``good``, ``bad``, ``doubtful``, another style of the page, or empty."""

MAX_TABLE_ROWS = 10
MAX_LISTED = 200
VERDICT_TONES = {"certified": "good", "repaired": "good", "uncertified": "doubtful"}
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at the top of the page.

    Attributes:
        label: What it counts.
        value: The number.
        note: Context, such as the total.
        tone: How to mark it.
    """

    label: str
    value: str
    note: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """One chart with its finding.

    Attributes:
        name: Name of the function that draws it.
        finding: What the data show.
        how: How to read it.
        spec: The chart as Vega-Lite; None if there is nothing to draw.
    """

    name: str
    finding: str
    how: str
    spec: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table.

    Attributes:
        text: The text shown.
        tone: How to mark it.
        sort: Sort key, if it is not the text.
        links: Label and URL of each link after the text.
        is_id: Whether the text is an id to copy.
    """

    text: str
    tone: Tone = ""
    sort: str | float | None = None
    links: Sequence[tuple[str, str]] = ()
    is_id: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        title: What it lists.
        how: How to read it.
        columns: Name of each column, and whether it contains numbers.
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
        parts: Charts and tables, in order.
    """

    name: str
    title: str
    parts: Sequence[Picture | Table]


@dataclass(frozen=True, slots=True)
class Report:
    """The page.

    Attributes:
        organisation: Name of the organisation.
        as_of: The newest read; None if nothing has been read yet.
        figures: The numbers at the top.
        sections: Its sections.
        notes: Notes that apply to the whole page.
    """

    organisation: str
    as_of: datetime | None
    figures: Sequence[Figure]
    sections: Sequence[Section]
    notes: Sequence[str]


def compose(facts: Facts) -> Report:
    """Return the content of the page."""
    sections = (
        []
        if facts.as_of is None
        else [_attention(facts), _initiatives(facts), _agents(facts), _decisions(facts), _artifacts(facts)]
    )
    return Report(
        _organisation(facts.workspaces),
        facts.as_of,
        [] if facts.as_of is None else list(_figures(facts)),
        [*sections, *_costs(facts), _health(facts)],
        list(_notes(facts)),
    )


def _organisation(workspaces: Sequence[str]) -> str:
    if len(workspaces) > 3:
        return f"{', '.join(workspaces[:2])} and {len(workspaces) - 2} more workspaces"
    return " and ".join([", ".join(workspaces[:-1]), workspaces[-1]] if len(workspaces) > 1 else workspaces) or "OrgX"


def _figures(facts: Facts) -> Iterable[Figure]:
    yield from _attention_figures(facts)
    still = sum(is_still(row) for row in facts.initiatives)
    yield Figure("Open initiatives", f"{len(facts.initiatives):,}", f"{still:,} unchanged for a week")
    done, total = _tasks(facts.progress)
    yield Figure(
        "Tasks done",
        f"{done:,}",
        f"of {total:,} ({say_pct(done, total)}) in initiatives that are not closed" if total else "no tasks yet",
    )
    recent, before = _windows(facts.days)
    # Approvals are known from the first read; on the day of that read, only those after it.
    seen = [row for row in recent if row["artifacts_approved"] is not None]
    made = _sum(seen, "artifacts_produced")
    yield Figure(
        "Artifacts approved",
        f"{_sum(seen, 'artifacts_approved'):,.0f}" if len(seen) > 1 else "-",
        f"in {len(seen)} days; {made:,.0f} created" if len(seen) > 1 else "known from the second day",
    )
    if any(row["cost_usd"] is not None for row in facts.days):
        earlier = f"; ${_sum(before, 'cost_usd'):,.2f} in the {RECENT_DAYS} days before" if before else ""
        yield Figure("Cost of events", f"${_sum(recent, 'cost_usd'):,.2f}", f"in {RECENT_DAYS} days{earlier}")
    judged = [row for row in facts.health if not _is_partial(row)]
    sure = sum(VERDICT_TONES.get(row["last_verdict"]) == "good" and not row["last_error"] for row in judged)
    yield Figure(
        "Complete tables",
        f"{sure} of {len(judged)}",
        "as of their last read" if sure == len(judged) else "see Sync health",
        "good" if sure == len(judged) else "doubtful",
    )


def _attention_figures(facts: Facts) -> Iterable[Figure]:
    waiting = [number(row["hours_waiting"]) for row in facts.waiting]
    critical = sum(row["urgency"] == "critical" for row in facts.waiting)
    note = f"{critical:,} critical; longest {say_hours(max(waiting))}" if waiting else "no open decisions"
    yield Figure("Decisions waiting", f"{len(waiting):,}", note, "bad" if critical else "")
    for kind, label, none in (
        ("past_due", "Past due", "no open work is past due"),
        ("blocked", "Blocked", "no open work is blocked"),
        ("agent", "Agents stuck", "no agent is stuck"),
    ):
        found = [row for row in facts.attention if row["kind"] == kind]
        yield Figure(label, f"{len(found):,}", _of_each(found) or none, "bad" if found else "")


def _of_each(rows: Sequence[Row]) -> str:
    """Return the number of rows per entity type, each out of all open entities of that type."""
    counts = Counter(row["entity_type"] for row in rows)
    totals = {row["entity_type"]: row["open_total"] for row in rows}
    parts = []
    for kind, count in counts.most_common():
        adjective = "" if kind == "agent" else "open "
        parts.append(f"{count:,} of {totals[kind]:,} {adjective}{inflected(totals[kind], kind, kind + 's')}")
    return ", ".join(parts)


def _tasks(progress: Sequence[Row]) -> tuple[int, int]:
    """Return the number of tasks done, and of tasks not dropped, in initiatives that are not closed now."""
    kept = not_closed_now(progress)
    return sum(row["tasks_done"] or 0 for row in kept), sum(count_tasks(row) for row in kept)


def _windows(days: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return the last four weeks, and the four weeks before if every day of those is known."""
    ordered = sorted(days, key=lambda row: row["day"])
    before = ordered[-2 * RECENT_DAYS : -RECENT_DAYS]
    return ordered[-RECENT_DAYS:], before if len(before) == RECENT_DAYS else []


def _sum(rows: Sequence[Row], column: str) -> float:
    return sum(number(row[column]) for row in rows)


def _attention(facts: Facts) -> Section:
    by_kind: dict[str, list[Row]] = defaultdict(list)
    for row in facts.attention:
        by_kind[row["kind"]].append(row)
    tables = [
        _waiting_table(by_kind["decision"]),
        _late_table(by_kind["past_due"]),
        _blocked_table(by_kind["blocked"]),
        _stuck_table(by_kind["agent"]),
    ]
    return Section("attention", "Needs attention", tables)


def _waiting_table(rows: Sequence[Row]) -> Table:
    title = f"Decisions waiting for an answer: {len(rows):,}" if rows else "No decisions are waiting"
    how = "Critical and oldest first."
    columns = {
        "question": _title,
        "urgency": _urgency,
        "waiting": _since,
        "due": _due,
        "asked by": _agent,
        "blocks": _reason,
        "initiative": _initiative,
        "in OrgX": _address,
    }
    return _listed(title, how, columns, rows)


def _late_table(rows: Sequence[Row]) -> Table:
    title = f"Work past its due date: {_of_each(rows)}" if rows else "No open work is past its due date"
    how = (
        "Highest priority first, then the longest overdue. Work is open until it is done or dropped, and only while "
        "its initiative is neither completed nor closed."
    )
    columns = {
        "work": _title,
        "type": _type,
        "priority": _urgency,
        "due": _due,
        "overdue": _since,
        "assigned to": _agent,
        "initiative": _initiative,
        "in OrgX": _address,
    }
    return _listed(title, how, columns, rows)


def _blocked_table(rows: Sequence[Row]) -> Table:
    title = f"Blocked: {_of_each(rows)}" if rows else "No open work is blocked"
    how = "Highest priority first, then the longest blocked. At-risk work is not listed: it can still move."
    columns = {
        "work": _title,
        "type": _type,
        "blocked by": _reason,
        "priority": _urgency,
        "blocked for": _since,
        "assigned to": _agent,
        "initiative": _initiative,
        "in OrgX": _address,
    }
    return _listed(title, how, columns, rows)


def _stuck_table(rows: Sequence[Row]) -> Table:
    title = f"Agents stuck: {_of_each(rows)}" if rows else "No agents are stuck"
    how = "Blocked, or on the same run for a day or longer."
    columns = {
        "agent": _title,
        "blocker or task": _reason,
        "stuck for": _since,
        "initiative": _initiative,
        "in OrgX": _address,
    }
    return _listed(title, how, columns, rows)


def _listed(title: str, how: str, columns: Mapping[str, Callable[[Row], Cell]], rows: Sequence[Row]) -> Table:
    if len(rows) > MAX_LISTED:
        how += f" Only the first {MAX_LISTED} are listed; the view needs_attention lists all {len(rows):,}."
    cells = [[cell(row) for cell in columns.values()] for row in rows[:MAX_LISTED]]
    return Table(title, how, [(name, cell in (_since, _due)) for name, cell in columns.items()], cells)


def _title(row: Row) -> Cell:
    return Cell(row["title"] or NOTHING)


def _type(row: Row) -> Cell:
    return Cell(row["entity_type"])


def _urgency(row: Row) -> Cell:
    return Cell(row["urgency"], "bad" if row["urgency"] == "critical" else "", sort=-row["urgency_rank"])


def _since(row: Row) -> Cell:
    if row["hours"] is None:
        return Cell(NOTHING)
    return Cell(say_hours(number(row["hours"])), sort=-round(number(row["hours"]), 2))


def _due(row: Row) -> Cell:
    is_late = row["due_on"] is not None and row["due_on"] < row["as_of"].date()
    return Cell(_day(row["due_on"]), "bad" if is_late else "", sort=str(row["due_on"] or "9999"))


def _agent(row: Row) -> Cell:
    return Cell(row["agent_name"] or NOTHING)


def _reason(row: Row) -> Cell:
    return Cell(row["reason"] or NOTHING)


def _initiative(row: Row) -> Cell:
    return Cell(NOTHING if row["entity_type"] == "initiative" else row["initiative_title"] or NOTHING)


def _address(row: Row) -> Cell:
    """Return a link to the page in OrgX, or the id if there is none, and a link to the newest artifact."""
    addresses = {"open": row["live_url"], "artifact": row["artifact_url"]}
    links = [(label, str(url)) for label, url in addresses.items() if is_web_address(url)]
    has_page = is_web_address(row["live_url"])
    return Cell("" if has_page else row["entity_id"], links=links, is_id=not has_page)


def is_web_address(url: str | None) -> bool:
    """Return whether a URL is safe to link to: a browser executes the text of a ``javascript:`` URL."""
    return url is not None and re.match(r"https?://[^\s/]", url) is not None  # guard: only-web-addresses-become-links


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
        ],
    )


def _artifacts(facts: Facts) -> Section:
    return Section("artifacts", "Artifacts", [_artifact_table(facts.artifacts)])


def _costs(facts: Facts) -> Iterable[Section]:
    """Yield the section on costs, if any of its data were ever read."""
    shown: list[tuple[Sequence[Row], Sequence[str], Callable[[Sequence[Row]], Iterable[Table]]]] = [
        (facts.outcome_costs, ("cost_per_outcome", "runs_without_cost"), _outcome_costs_table),
        (facts.costs, ("cost_per_week",), _initiative_costs_table),
        (facts.run_outcomes, (), _run_outcomes_table),
        (facts.usage, ("counted_cost",), _usage_table),
        (facts.handoffs, (), _handoffs_table),
    ]
    parts: list[Picture | Table] = []
    for rows, pictures, make_table in shown:
        if rows:
            parts += [*(_picture(name, rows) for name in pictures), *make_table(rows)]
    if parts:
        yield Section("costs", "Costs and outcomes", parts)


ESTIMATED = "Amounts in italics with \u2248 are OrgX's estimates; unknown costs are counted, never treated as 0."


def _estimate(usd: float | None) -> Cell:
    """Return an estimated amount, which is marked to distinguish it from a measured one."""
    return Cell(NOTHING) if usd is None else Cell(f"\u2248 ${usd:,.2f}", "estimate", sort=round(usd, 4))


def _outcome_costs_table(rows: Sequence[Row]) -> Iterable[Table]:
    columns = ("outcome", "runs", "without a known cost", "estimated cost", "per run", "tokens")
    cells = [
        [
            Cell("receipts without a known run" if row["outcome"] == "no_run" else row["outcome"].replace("_", " ")),
            Cell(_count(row["runs"])),
            Cell(_share(row["runs_without_cost"], row["runs"])),
            _estimate(row["cost_estimate_usd"]),
            _estimate(row["cost_per_run_usd"]),
            Cell(_count(row["tokens"])),
        ]
        for row in rows
    ]
    runs, unknown = sum(row["runs"] for row in rows), sum(row["runs_without_cost"] for row in rows)
    total, shipped = _sum(rows, "cost_estimate_usd"), [row for row in rows if row["outcome"] == "shipped"]
    spent = number(shipped[0]["cost_estimate_usd"]) if shipped else 0.0
    title = (
        f"About {say_pct(spent, total)} of the known cost went into runs that shipped" if total else "No known costs"
    )
    how = f"{say_pct(unknown, runs)} of {plural(runs, 'run')} have no known cost. {ESTIMATED}"
    yield Table(title, how, [(name, name != "outcome") for name in columns], cells)


def _initiative_costs_table(rows: Sequence[Row]) -> Iterable[Table]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["initiative_id"]].append(row)
    order = sorted(found, key=lambda key: (-_sum(found[key], "cost_estimate_usd"), key))
    cells = []
    for key in order[:MAX_TABLE_ROWS]:
        known = [row for row in found[key] if row["cost_estimate_usd"] is not None]
        saved = [row for row in found[key] if row["saved_estimate_usd"] is not None]
        receipts = sum(row["receipts"] for row in found[key])
        cells.append(
            [
                Cell("no known initiative" if key == "unknown" else found[key][0]["initiative_title"] or key),
                _estimate(_sum(known, "cost_estimate_usd") if known else None),
                _estimate(_sum(saved, "saved_estimate_usd") if saved else None),
                Cell(_count(receipts)),
                Cell(_share(sum(row["receipts_without_cost"] for row in found[key]), receipts)),
            ]
        )
    total = _sum(rows, "cost_estimate_usd")
    first = cells[0][0].text
    share = say_pct(_sum(found[order[0]], "cost_estimate_usd"), total)
    title = f"{first}: {share} of the known cost, the largest share" if total else "No initiative has a known cost"
    how = (
        f"The last {DAYS_SHOWN} days.{say_shown(len(cells), len(order), 'the most expensive initiatives')} {ESTIMATED}"
    )
    columns = ("initiative", "estimated cost", "estimated saving", "receipts", "without a known cost")
    yield Table(title, how, [(name, name != "initiative") for name in columns], cells)


def _run_outcomes_table(rows: Sequence[Row]) -> Iterable[Table]:
    columns = (
        "agent", "driver", "runs", "shipped", "in review", "blocked", "abandoned", "failed", "open", "no outcome",
        "hours", "quality",
    )  # fmt: skip
    counts = (
        "shipped", "awaiting_review", "blocked", "abandoned", "failed", "open_runs", "unknown_outcome",
    )  # fmt: skip
    cells = [
        [
            Cell(row["agent_name"]),
            Cell(row["source_driver"]),
            Cell(_count(row["runs"])),
            *(Cell(_count(row[name])) for name in counts),
            Cell(NOTHING if row["hours"] is None else f"{row['hours']:,.1f}"),
            Cell(NOTHING if row["quality_avg"] is None else f"{row['quality_avg']:.2f} ({row['quality_count']:,})"),
        ]
        for row in rows[:MAX_LISTED]
    ]
    runs, shipped, failed = (sum(row[name] for row in rows) for name in ("runs", "shipped", "failed"))
    title = f"{shipped:,} of {plural(runs, 'run')} shipped ({say_pct(shipped, runs)}), {failed:,} failed"
    how = (
        "All runs that OrgX lists. Hours: total of runs with a known start and end. "
        "Quality: average and number of scores."
    )
    yield Table(title, how, [(name, name not in ("agent", "driver")) for name in columns], cells)


def _usage_table(rows: Sequence[Row]) -> Iterable[Table]:
    total = next((row for row in rows if row["breakdown"] == "total"), None)
    cells = [
        [
            Cell(row["breakdown"].replace("_", " ")),
            Cell(row["label"] or "all"),
            Cell(_count(row["runs"])),
            Cell(_count(row["tokens"])),
            Cell(NOTHING if row["cost_usd"] is None else f"${row['cost_usd']:,.2f}", sort=number(row["cost_usd"])),
        ]
        for row in sorted(rows, key=lambda row: row["breakdown"] != "total")
        if row["breakdown"] in ("total", "provider", "model")
    ]
    title = "OrgX reports no total for this period"
    if total is not None and total["cost_usd"] is not None:
        title = f"OrgX has counted ${total['cost_usd']:,.2f} since {_moment(total['period_start'])} UTC"
    how = (
        "OrgX's own totals for the plan period, rounded to a cent. Counted, not estimated: they can differ from the "
        "totals of receipts."
    )
    columns = ("breakdown", "name", "runs", "tokens", "cost")
    yield Table(title, how, [(name, name not in ("breakdown", "name")) for name in columns], cells)


def _handoffs_table(rows: Sequence[Row]) -> Iterable[Table]:
    waiting = [row for row in rows if row["status_group"] == "waiting"]
    claims = [row["hours_to_claim"] for row in rows if row["claimed_at"] and row["hours_to_claim"] is not None]
    cells = [
        [
            Cell(row["title"] or NOTHING),
            Cell(row["priority"] or NOTHING),
            Cell(row["status"] or NOTHING),
            Cell(_moment(row["made_at"]), sort=str(row["made_at"] or "")),
            Cell(
                NOTHING if row["hours_waiting"] is None else say_hours(row["hours_waiting"]),
                sort=-number(row["hours_waiting"]),
            ),
        ]
        for row in sorted(waiting, key=lambda row: -number(row["hours_waiting"]))[:MAX_LISTED]
    ]
    title = (
        f"{plural(len(waiting), 'handoff')} {inflected(len(waiting), 'is', 'are')} waiting to be claimed"
        if waiting
        else "No handoffs are waiting to be claimed"
    )
    unknown = sum(not row["is_time_known"] for row in rows)
    how = f"{plural(len(rows), 'handoff')} in total, {unknown:,} without known times."
    if len(claims) >= LEAST_CASES:
        how += f" Claimed handoffs waited {say_hours(median(claims))} (median of {len(claims):,})."
    columns = ("handoff", "priority", "status", "created (UTC)", "waiting")
    yield Table(title, how, [(name, name in ("created (UTC)", "waiting")) for name in columns], cells)


def _health(facts: Facts) -> Section:
    return Section("sync-health", "Sync health", [_health_table(facts.health)])


def _picture(name: str, rows: Sequence[Row]) -> Picture:
    """Draw a chart and remove its title from the spec: on the page, the title is a heading that wraps as needed."""
    spec = getattr(charts, name)(rows).to_dict()
    title = spec.pop("title")
    finding, how = (" ".join(_lines(title[part])) for part in ("text", "subtitle"))
    # A line that is dark on a light page is light in dark mode.
    how = how.replace("Dark line", "Line")
    if "layer" not in spec:
        # A chart with nothing to draw is a single view with a text.
        return Picture(name, finding, how, None)
    empty = {key for key, values in spec.get("datasets", {}).items() if not values}
    # Vega warns about a scale without values.
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
            Cell(say_days(number(row["days_since_movement"])), "bad", sort=-number(row["days_since_movement"])),
            Cell(_share(row["tasks_done"], count_tasks(row)), sort=(row["tasks_done"] or 0) / (count_tasks(row) or 1)),
            Cell(_count(row["tasks_blocked"])),
            Cell(_count(row["decisions_pending"])),
            Cell(_day(row["due_on"]), "bad" if row["is_overdue"] else "", sort=str(row["due_on"] or "9999")),
        ]
        for row in still[:MAX_TABLE_ROWS]
    ]
    columns = ("initiative", "status", "unchanged for", "tasks done", "tasks blocked", "decisions waiting", "due")
    title = f"Longest unchanged: {_of(rows, still)}" if still else "No open initiative has been unchanged for a week"
    how = "Open initiatives in which nothing has changed for a week or more, counted up to the last read."
    return Table(title, how, [(name, name not in ("initiative", "status")) for name in columns], rows)


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
                Cell(_hours_to_approval(hours), sort=median(hours or [-1])),
                Cell(f"{fmean(number(row['revisions']) for row in found):.1f}"),
            ]
        )
    columns = (
        "type",
        "created",
        "approved",
        "in review",
        "changes requested",
        "hours to approval",
        "average revisions",
    )
    approved = sum(bool(row["is_approved"]) for row in artifacts)
    title = (
        f"{approved:,} of {plural(len(artifacts), 'artifact')} {inflected(approved, 'is', 'are')} approved"
        if artifacts
        else f"No artifacts were created in the last {DAYS_SHOWN} days"
    )
    rest = say_shown(len(rows), len(order), "the most frequent types")
    how = (
        f"Created in the last {DAYS_SHOWN} days. Hours to approval: each value, or the median and number of values "
        f"if there are {LEAST_CASES} or more.{rest}"
    )
    return Table(title, how, [(name, name != "type") for name in columns], rows)


def _hours_to_approval(hours: Sequence[float]) -> str:
    """Return the median if there are enough cases, else each case."""
    if len(hours) < LEAST_CASES:
        return ", ".join(f"{case:,.1f}" for case in sorted(hours)) or NOTHING
    return f"median {median(hours):,.1f} ({len(hours):,})"


def _health_table(health: Sequence[Row]) -> Table:
    rows = []
    for row in health:
        error, verdict = row["last_error"], row["last_verdict"]
        rows.append(
            [
                Cell(row["table_name"]),
                Cell(_moment(row["last_read_at"]), sort=str(row["last_read_at"] or "")),
                Cell("not open", "none")
                if row.get("not_open")
                else Cell(verdict or "never read", VERDICT_TONES.get(verdict, "bad")),
                Cell(_moment(row["last_whole_read_at"]), sort=str(row["last_whole_read_at"] or "")),
                Cell(_count(row["rows_living"])),
                Cell(f"{row['runs_certified'] or 0:,} of {row['runs'] or 0:,}"),
                Cell(_lateness(row), sort=number(row["lateness_minutes_p50"])),
                Cell(error or row.get("not_open") or NOTHING, "bad" if error else ""),
            ]
        )
    columns = (
        "table", "last read (UTC)", "verdict", "last full read (UTC)", "rows", "complete runs", "change lag",
        "last error or note",
    )  # fmt: skip
    unsure = [
        row["table_name"]
        for row in health
        if row["last_error"]
        or (VERDICT_TONES.get(row["last_verdict"]) != "good" and row["table_name"] not in OPTIONAL_TABLES)
    ]
    partial = [row for row in health if _is_partial(row)]
    title = f"In doubt: {', '.join(unsure)}" if unsure else f"All {len(health)} tables are known to be complete"
    if partial and not unsure:
        judged = len(health) - len(partial)
        title = f"{judged} tables are known to be complete; {len(partial)} optional ones hold only what OrgX provides"
    if not health:
        title = "Nothing has been read yet: orgx-sync run fills the warehouse"
    how = (
        "certified: complete, with evidence. repaired: the list changed while it was read, and all gaps were closed. "
        "uncertified: evidence is missing. Complete runs: certified or repaired. Change lag: median time from OrgX's "
        "timestamp of a change to the read that saw it." + "".join(map(_event_lag, health))
    )
    return Table(title, how, [(name, name not in ("table", "verdict", "last error or note")) for name in columns], rows)


def _is_partial(row: Row) -> bool:
    """Return whether a table is not expected to be complete: OrgX gives a period of it, or what the key may read."""
    return row["table_name"] in OPTIONAL_TABLES and row["last_verdict"] != "certified"


def _event_lag(row: Row) -> str:
    """Return a sentence on how long events took to become rows; empty if there were none."""
    if not row["event_lag_count"]:
        return ""
    middle, most, worst = (number(row[f"event_lag_seconds_{name}"]) for name in ("p50", "p95", "worst"))
    return (
        f" Events of {row['table_name']} reach the warehouse after {middle:,.1f} s (median of "
        f"{row['event_lag_count']:,}), 95 % within {most:,.1f} s, the slowest after {worst:,.1f} s."
    )


def _lateness(row: Row) -> str:
    return NOTHING if row["lateness_minutes_p50"] is None else say_hours(number(row["lateness_minutes_p50"]) / 60)


def _notes(facts: Facts) -> Iterable[str]:
    if facts.as_of is None:
        return
    yield (
        f"All times and days are in UTC. Charts show {_day(facts.since)} to {_day(facts.as_of.date())}, as far as "
        "data were read. Ages and waiting times are counted up to the last read."
    )
    if facts.in_doubt:
        yield (
            f"{plural(facts.in_doubt, 'timestamp')} from OrgX {inflected(facts.in_doubt, 'is', 'are')} missing or "
            f"implausible and {inflected(facts.in_doubt, 'counts', 'count')} as unknown: the view times_in_doubt lists "
            f"{inflected(facts.in_doubt, 'it', 'them')}."
        )
    if len(facts.decisions) == MAX_DECISIONS:
        yield f"Waiting times cover only the {MAX_DECISIONS:,} most recently asked decisions."
    if len(facts.artifacts) == MAX_ARTIFACTS:
        yield f"Only the newest {MAX_ARTIFACTS:,} artifacts are counted."


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
