"""Content of the agent charts: output, observed status, blockages and cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, TypeAlias, TypeVar

from orgx_source.charts.findings.caption import MOST_LANES, Caption, Lane, Mark, Nothing
from orgx_source.charts.findings.rows import Row, Rows, number
from orgx_source.charts.findings.wording import plural, say_day, say_days, say_pct, say_time

Measure: TypeAlias = Literal["tasks_done", "artifacts_produced", "artifacts_approved", "runs_completed"]
# Plural and singular of what is counted, and the title.
MEASURES: dict[str, tuple[str, str, str]] = {
    "tasks_done": ("tasks", "task", "Agents finish {} a week"),
    "artifacts_produced": ("artifacts", "artifact", "Agents create {} a week"),
    "artifacts_approved": ("approved artifacts", "artifact", "Agents get {} approved a week"),
    "runs_completed": ("completed runs", "run", "Agents complete {} a week"),
}
# These two are computed from history, which starts with the first read.
FROM_HISTORY = ("tasks_done", "artifacts_approved")
MOST_WEEKS = 16
TREND_WEEKS = 4
WEEK = timedelta(days=7)
TIMELINE_DAYS = 30
BEFORE, RECENT = "before", "last four weeks"

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput(Caption):
    """Output of agents per week.

    Attributes:
        noun: What is counted, in the plural.
        most: The highest count in a week.
        bars: One per agent and week; ``part`` is `RECENT` or `BEFORE`.
        means: For each agent, the average of the last four weeks and of the four weeks before.
        lanes: Name of the agent and these averages.
    """

    noun: str
    most: float
    bars: list[Mark]
    means: list[Mark]
    lanes: list[Lane]


@dataclass(frozen=True, slots=True)
class _Pace:
    """Output of an agent per week, and the two periods of weeks to compare."""

    agent: str
    name: str | None
    per_week: Mapping[date, float]
    recent: Sequence[date]
    earlier: Sequence[date]

    def mean(self, weeks: Sequence[date]) -> float:
        return sum(self.per_week[week] for week in weeks) / len(weeks) if weeks else 0.0


def describe_throughput(rows: Rows, measure: Measure) -> Throughput | Nothing:
    """Describe the output of each agent per full week, compared with the weeks before.

    Args:
        rows: Rows of ``agent_throughput_daily``.
        measure: The column to count.
    """
    noun, one, sentence = MEASURES[measure]
    weeks = whole_weeks(rows, measure)
    recent, earlier = weeks[-TREND_WEEKS:], weeks[-2 * TREND_WEEKS : -TREND_WEEKS]
    names, per_week = _names(rows), _sum_per_week(rows, measure)
    paces = [_Pace(agent, names[agent], per_week[agent], recent, earlier) for agent in _busiest(per_week, weeks)]
    if not paces:
        return Nothing(f"No {noun} in a full week yet")
    shown = paces[:MOST_LANES]
    most = max(pace.per_week[week] for pace in shown for week in weeks)
    now, before = (sum(pace.mean(part) for pace in paces) for part in (recent, earlier))
    return Throughput(
        finding=sentence.format(plural(round(now), one)) + (_compare(now, before) if earlier else ""),
        how=f"{noun.capitalize()} per full week and agent; all lanes share one scale (highest bar: {most:.0f}). Lines: "
        "averages of the last four weeks and of the four weeks before.",
        noun=noun,
        most=most,
        bars=[_week_bar(lane, pace, week) for lane, pace in enumerate(shown) for week in weeks],
        means=[mean for lane, pace in enumerate(shown) for mean in _mean_lines(lane, pace)],
        lanes=[(pace.name or pace.agent, _say_pace(pace)) for pace in shown],
    )


def whole_weeks(rows: Rows, measure: Measure) -> list[date]:
    """Return the Mondays of the latest weeks in which every day is known."""
    if not rows:
        return []
    first = _history_begins(rows) if measure in FROM_HISTORY else min(row["day"] for row in rows)
    if first is None:
        return []
    return weeks_between(first, max(row["day"] for row in rows))[-MOST_WEEKS:]


def weeks_between(first: date, last: date) -> list[date]:
    """Return the Mondays of the full weeks between two days; the last day, that of the last read, is incomplete."""
    monday = first + timedelta(days=-first.weekday() % 7)
    weeks = []
    while monday + timedelta(days=6) < last:
        weeks.append(monday)
        monday += WEEK
    return weeks


def _history_begins(rows: Rows) -> date | None:
    """Return the first day covered by history."""
    told = (row["day"] for row in rows if any(row[name] is not None for name in FROM_HISTORY))
    return min(told, default=None)


def _names(rows: Rows) -> dict[str, str | None]:
    return {row["agent_id"]: row["agent_name"] for row in rows}


def _sum_per_week(rows: Rows, measure: Measure) -> dict[str, dict[date, float]]:
    """Return the sum per agent and week, by its Monday."""
    found: dict[str, dict[date, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        found[row["agent_id"]][row["day"] - timedelta(days=row["day"].weekday())] += number(row[measure])
    return found


def _busiest(per_week: Mapping[str, Mapping[date, float]], weeks: Sequence[date]) -> list[str]:
    """Return the agents with any output in these weeks, highest output first."""
    totals = {agent: sum(found[week] for week in weeks) for agent, found in per_week.items()}
    return sorted((agent for agent in totals if totals[agent]), key=lambda agent: (-totals[agent], agent))


def _week_bar(lane: int, pace: _Pace, week: date) -> Mark:
    return {
        "agent": pace.name,
        "from": week + timedelta(days=1),
        "to": week + WEEK,
        "week": f"{say_day(week)} to {say_day(week + timedelta(days=6))}",
        "count": pace.per_week[week],
        "lane": lane,
        "part": RECENT if week in pace.recent else BEFORE,
    }


def _mean_lines(lane: int, pace: _Pace) -> list[Mark]:
    return [
        {"from": weeks[0], "to": weeks[-1] + WEEK, "lane": lane, "mean": pace.mean(weeks)}
        for weeks in (pace.earlier, pace.recent)
        if weeks
    ]


def _say_pace(pace: _Pace) -> str:
    now = f"{pace.mean(pace.recent):.1f} a week"
    return f"{now}, was {pace.mean(pace.earlier):.1f}" if pace.earlier else now


def _compare(now: float, before: float) -> str:
    if not before:
        return ", up from none in the four weeks before"
    change = round(100 * (now / before - 1))
    if not change:
        return ", the same as in the four weeks before"
    return f", {abs(change)} % {'more' if change > 0 else 'fewer'} than in the four weeks before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline(Caption):
    """Observed status of agents over time.

    Attributes:
        start: Start of the chart.
        end: When an agent was last seen.
        bars: One per agent and interval with the same status.
        lanes: Name of the agent, and the share of time in which it was running.
    """

    start: datetime
    end: datetime
    bars: list[Mark]
    lanes: list[Lane]


def describe_timeline(rows: Rows) -> Timeline | Nothing:
    """Describe the observed status of each agent in the last thirty days, longest running first.

    Args:
        rows: Rows of ``agent_timeline``.
    """
    if not rows:
        return Nothing("No agents seen yet")
    end = max(row["ended_at"] for row in rows)
    start = max(end - timedelta(days=TIMELINE_DAYS), min(row["started_at"] for row in rows))
    pieces = _pieces_since(rows, start)
    if not pieces:
        return Nothing("Agents were read only once; their activity is visible from the second read")
    seconds = _seconds_per_status(pieces)
    agents = sorted(seconds, key=lambda agent: (-seconds[agent]["running"], -seconds[agent]["blocked"], agent))
    names, lanes = distinct_names(rows), {agent: lane for lane, agent in enumerate(agents[:MOST_LANES])}
    total: Counter[str] = sum(seconds.values(), Counter())
    unknown = f"hatched: unknown ({say_pct(total['unknown'], total.total())} of the time)"
    return Timeline(
        finding=_say_seen(total),
        how=f"Last {(end - start).days} days; {unknown if total['unknown'] else 'no gaps between reads'}. A status "
        "is drawn from one read to the next; work that starts and ends between two reads is not visible.",
        start=start,
        end=end,
        bars=[
            _status_bar(lanes[piece["agent_id"]], names[piece["agent_id"]], piece)
            for piece in pieces
            if piece["agent_id"] in lanes
        ],
        lanes=[(names[agent], _say_running(seconds[agent])) for agent in lanes],
    )


def _pieces_since(rows: Rows, start: datetime) -> list[Row]:
    """Return the intervals that are longer than zero, ordered by agent and time and cut off at the start."""
    return [
        {**row, "started_at": max(row["started_at"], start)}
        for row in sorted(rows, key=lambda row: (row["agent_id"], row["started_at"]))
        if row["ended_at"] > start and row["ended_at"] > row["started_at"] and row["status"] != "gone"
    ]


def _seconds_per_status(pieces: Rows) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for piece in pieces:
        length = piece["ended_at"] - piece["started_at"]
        found[piece["agent_id"]][piece["status"]] += round(length.total_seconds())
    return found


def _status_bar(lane: int, name: str, piece: Row) -> Mark:
    return {
        "agent": name,
        "status": piece["status"],
        "task": piece["current_task"] or "",
        "from": piece["started_at"],
        "to": piece["ended_at"],
        "seen": f"{say_time(piece['started_at'])} to {say_time(piece['ended_at'])}",
        "lane": lane,
    }


def _seen(seconds: Counter[str]) -> int:
    return seconds.total() - seconds["unknown"]


def _say_seen(seconds: Counter[str]) -> str:
    seen = _seen(seconds)
    if not seen:
        return "Reads are too far apart to show what agents did"
    running, blocked = (say_pct(seconds[status], seen) for status in ("running", "blocked"))
    return f"Agents were running for {running} and blocked for {blocked} of the time in which they were seen"


def _say_running(seconds: Counter[str]) -> str:
    seen = _seen(seconds)
    return f"{say_pct(seconds['running'], seen)} running" if seen else "not seen"


def distinct_names(rows: Rows) -> dict[str, str]:
    """Return a name per agent id; agents that share a name get their id appended."""
    names = {agent: name or agent for agent, name in _names(rows).items()}
    often = Counter(names.values())
    return {agent: name if often[name] == 1 else f"{name} ({agent})" for agent, name in names.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blockages(Caption):
    """How long agents were seen blocked.

    Attributes:
        bars: One per agent and task, end to end; ``from`` and ``to`` are in days.
        lanes: Name of the agent and its longest task; the total, and its share of the time in which it was seen.
    """

    bars: list[Mark]
    lanes: list[Lane]


def describe_blockages(rows: Rows) -> Blockages | Nothing:
    """Describe how long each agent was seen blocked, and on which tasks, longest first.

    Args:
        rows: Rows of ``agent_timeline``.
    """
    blocked = [row for row in rows if row["status"] == "blocked" and number(row["hours"]) > 0]
    if not blocked:
        return Nothing("No agent was seen blocked" if rows else "No agent was seen blocked yet")
    names = distinct_names(rows)
    per_agent: dict[str, float] = _sum_hours(blocked, lambda row: row["agent_id"])
    seen = _sum_hours((row for row in rows if row["status"] not in ("unknown", "gone")), lambda row: row["agent_id"])
    agents = sorted(per_agent, key=lambda agent: (-per_agent[agent], agent))
    bars: list[Mark] = []
    lanes: list[Lane] = []
    for lane, agent in enumerate(agents[:MOST_LANES]):
        tasks = _sum_hours(
            (row for row in blocked if row["agent_id"] == agent), lambda row: row["current_task"] or "no task named"
        )
        bars += _end_to_end(lane, names[agent], tasks)
        longest = max(tasks, key=lambda task: (tasks[task], task))
        share = say_pct(per_agent[agent], seen[agent])
        lanes.append((f"{names[agent]}, longest on: {longest}", f"{say_days(per_agent[agent] / 24)}, {share}"))
    first, total = agents[0], sum(per_agent.values())
    return Blockages(
        finding=f"Agents were blocked for {say_days(total / 24)} in total, {names[first]} the longest "
        f"({say_days(per_agent[first] / 24)})",
        how="One bar per task. Right: total, and its share of the time in which the agent was seen. "
        "Accurate to the interval between two reads.",
        bars=bars,
        lanes=lanes,
    )


def _sum_hours(rows: Iterable[Row], key: Callable[[Row], Key]) -> dict[Key, float]:
    found: dict[Key, float] = defaultdict(float)
    for row in rows:
        found[key(row)] += number(row["hours"])
    return found


def _end_to_end(lane: int, name: str, tasks: Mapping[str, float]) -> list[Mark]:
    """Return one bar per task, each starting where the previous one ends."""
    found: list[Mark] = []
    reached = 0.0
    for task, hours in sorted(tasks.items(), key=lambda item: (-item[1], item[0])):
        end = reached + hours / 24
        found.append(
            {"lane": lane, "agent": name, "task": task, "from": reached, "to": end, "long": say_days(hours / 24)}
        )
        reached = end
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPerArtifact(Caption):
    """Cost of an approved artifact.

    Attributes:
        every: Cost in US dollars over all agents that have a cost and an approval.
        bars: One per agent.
        lanes: Name of the agent, its cost per approved artifact and its number of approved artifacts.
    """

    every: float
    bars: list[Mark]
    lanes: list[Lane]


def describe_cost_per_artifact(rows: Rows) -> CostPerArtifact | Nothing:
    """Describe the cost of an approved artifact per agent, its total cost over its approvals, most expensive first.

    Args:
        rows: Rows of ``agent_throughput_daily``.
    """
    since = _history_begins(rows)
    names = _names(rows)
    cost: dict[str, float] = defaultdict(float)
    approved: dict[str, float] = defaultdict(float)
    for row in rows:
        if since is not None and row["day"] >= since:
            # A database adds in any order, so the last digits of its sums vary between queries.
            cost[row["agent_id"]] += round(number(row["cost_usd"]), 6)
            approved[row["agent_id"]] += number(row["artifacts_approved"])
    price = {agent: cost[agent] / approved[agent] for agent in cost if cost[agent] and approved[agent]}
    if since is None or not price:
        return Nothing("No approved artifacts with a cost yet")
    agents = sorted(price, key=lambda agent: (-price[agent], agent))
    shown = agents[:MOST_LANES]
    every = sum(cost[agent] for agent in price) / sum(approved[agent] for agent in price)
    idle = sum(1 for agent in cost if cost[agent] and not approved[agent])
    return CostPerArtifact(
        finding=f"An approved artifact costs ${every:.2f}"
        + (f": {_say_price(agents[-1], price, names)}, {_say_price(agents[0], price, names)}" if agents[1:] else ""),
        how=f"All costs of an agent since {say_day(since)}, including tasks, divided by its approved artifacts. "
        "Line: all agents." + (f" Excludes {plural(idle, 'agent')} with costs but no approvals." if idle else ""),
        every=every,
        bars=[
            {
                "agent": names[agent],
                "price": price[agent],
                "approved": approved[agent],
                "cost": cost[agent],
                "lane": lane,
            }
            for lane, agent in enumerate(shown)
        ],
        lanes=[(names[agent] or agent, f"${price[agent]:.2f}, {approved[agent]:.0f} approved") for agent in shown],
    )


def _say_price(agent: str, price: Mapping[str, float], names: Mapping[str, str | None]) -> str:
    return f"${price[agent]:.2f} for {names[agent]}"
