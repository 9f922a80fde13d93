"""Pictures of agents: what they get done, what they were seen doing, where they block, and what it costs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Literal

import altair as alt

from orgx_source.charts.findings.rows import Rows, number
from orgx_source.charts.findings.wording import plural, say_day, say_hours, say_time
from orgx_source.charts.style import (
    BLUE,
    BOTTOM,
    LANE_PIXELS,
    MOST_LANES,
    ORANGE,
    STATUS_COLOURS,
    TOP,
    VERMILION,
    Chart,
    colours,
    days_axis,
    finish,
    inline,
    lane_names,
    lane_y,
    legend,
    nothing,
)

Measure = Literal["tasks_done", "artifacts_produced", "artifacts_approved", "runs_completed"]
MEASURES: dict[str, tuple[str, str]] = {
    "tasks_done": ("tasks", "Agents finish {} tasks a week"),
    "artifacts_produced": ("artifacts", "Agents make {} artifacts a week"),
    "artifacts_approved": ("approved artifacts", "{} artifacts of agents are approved a week"),
    "runs_completed": ("completed runs", "Agents complete {} runs a week"),
}
# These two come from history, which begins with the first read.
FROM_HISTORY = ("tasks_done", "artifacts_approved")
MOST_WEEKS = 16
TREND_WEEKS = 4
TIMELINE_DAYS = 30
SEEN_AS = ("running", "queued", "blocked", "idle", "unknown")
MOST_HATCHES = 160


def throughput(rows: Rows, measure: Measure = "tasks_done") -> Chart:
    """Draw what each agent got done per week, and whether that is more or less than before.

    Args:
        rows: Rows of ``agent_throughput_daily``.
        measure: Column that is counted.
    """
    noun, sentence = MEASURES[measure]
    per_week: dict[str, dict[date, float]] = defaultdict(lambda: defaultdict(float))
    weeks = _whole_weeks(rows, measure)
    names = {row["agent_id"]: row["agent_name"] for row in rows}
    for row in rows:
        per_week[row["agent_id"]][row["day"] - timedelta(days=row["day"].weekday())] += number(row[measure])
    totals = {agent: sum(found[week] for week in weeks) for agent, found in per_week.items()}
    agents = sorted((agent for agent in totals if totals[agent]), key=lambda agent: (-totals[agent], agent))
    if not agents:
        return nothing(f"No {noun} in a whole week yet")
    shown, recent, earlier = agents[:MOST_LANES], weeks[-TREND_WEEKS:], weeks[-2 * TREND_WEEKS : -TREND_WEEKS]
    most = max(per_week[agent][week] for agent in shown for week in weeks)
    labels, data, means = [], [], []
    for lane, agent in enumerate(shown):
        now, then = (_mean(per_week[agent], part) for part in (recent, earlier))
        labels.append(
            (names[agent] or agent, f"{now:.1f} a week, before {then:.1f}" if earlier else f"{now:.1f} a week")
        )
        ground, span = lane + 0.95, 0.55
        for week in weeks:
            value = per_week[agent][week]
            data.append(
                {
                    "agent": names[agent],
                    "from": week + timedelta(days=1),
                    "to": week + timedelta(days=7),
                    "week": f"{say_day(week)} to {say_day(week + timedelta(days=6))}",
                    "count": value,
                    "top": ground - span * value / most,
                    "bottom": ground,
                    "part": "last four weeks" if week in recent else "before",
                }
            )
        for part, mean in ((earlier, then), (recent, now)):
            if part:
                level = ground - span * mean / most
                means.append({"from": part[0], "to": part[-1] + timedelta(days=7), "level": level, "mean": mean})
    count = len(shown)
    tooltip = [alt.Tooltip("agent:N"), alt.Tooltip("week:N"), alt.Tooltip("count:Q", title=noun)]
    scale = alt.Scale(domain=["before", "last four weeks"], range=["#9CC3DE", BLUE])
    bars = (
        alt.Chart(inline(data))
        .mark_rect()
        .encode(
            x=days_axis("from"),
            x2="to:T",
            y=lane_y("top", count),
            y2="bottom:Q",
            color=alt.Color("part:N", scale=scale, legend=None),
            tooltip=tooltip,
        )
    )
    trend = (
        alt.Chart(inline(means))
        .mark_rule(color=VERMILION, strokeWidth=2)
        .encode(
            x=days_axis("from"),
            x2="to:T",
            y=lane_y("level", count),
            tooltip=[alt.Tooltip("mean:Q", title=f"{noun} a week", format=".1f")],
        )
    )
    every, before = (sum(_mean(per_week[agent], part) for agent in agents) for part in (recent, earlier))
    return finish(
        bars + trend + lane_names(labels, 150),
        f"{sentence.format(round(every))}{_compare(every, before) if earlier else ''}",
        f"{noun.capitalize()} per whole week and agent, all lanes to one scale (highest bar: {most:.0f}). Lines: "
        "average of the last four weeks and of the four before.",
        (LANE_PIXELS + 8) * count,
    )


def timeline(rows: Rows) -> Chart:
    """Draw what each agent was seen doing in the last thirty days; hatched where no read looked.

    Args:
        rows: Rows of ``agent_timeline``.
    """
    end = max((row["ended_at"] for row in rows), default=None)
    if end is None:
        return nothing("No agent was seen yet")
    start = max(end - timedelta(days=TIMELINE_DAYS), min(row["started_at"] for row in rows))
    pieces = [
        {**row, "started_at": max(row["started_at"], start), "status": row["status"]}
        for row in sorted(rows, key=lambda row: (row["agent_id"], row["started_at"]))
        if row["ended_at"] > start and row["ended_at"] > row["started_at"] and row["status"] != "gone"
    ]
    if not pieces:
        return nothing("Agents were seen once: what they do between two reads is not known yet")
    hours: dict[str, Counter[str]] = defaultdict(Counter)
    for piece in pieces:
        hours[piece["agent_id"]][piece["status"]] += round(_hours(piece["started_at"], piece["ended_at"]) * 3600)
    agents = sorted(hours, key=lambda agent: (-hours[agent]["running"], -hours[agent]["blocked"], agent))
    names, shown = _distinct_names(rows), agents[:MOST_LANES]
    bars = [
        {
            "agent": names[piece["agent_id"]],
            "status": piece["status"],
            "task": piece["current_task"] or "",
            "from": piece["started_at"],
            "to": piece["ended_at"],
            "seen": f"{say_time(piece['started_at'])} to {say_time(piece['ended_at'])}",
            "top": shown.index(piece["agent_id"]) + TOP,
            "bottom": shown.index(piece["agent_id"]) + BOTTOM,
        }
        for piece in pieces
        if piece["agent_id"] in shown
    ]
    count = len(shown)
    used = [status for status in SEEN_AS if any(bar["status"] == status for bar in bars)]
    base = alt.Chart(inline(bars)).encode(
        x=days_axis("from"),
        x2="to:T",
        y=lane_y("top", count),
        y2="bottom:Q",
        tooltip=[
            alt.Tooltip("agent:N"),
            alt.Tooltip("status:N"),
            alt.Tooltip("task:N", title="working on"),
            alt.Tooltip("seen:N", title="seen so"),
        ],
    )
    lanes = base.mark_rect(stroke="white", strokeWidth=1).encode(
        color=alt.Color(
            "status:N",
            scale=colours(used, _TIMELINE_COLOURS),
            legend=legend(5, symbolStrokeColor="#A0A0A0", symbolStrokeWidth=1),
        )
    )
    hatch = (
        alt.Chart(inline(_hatches(bars, start, end)))
        .mark_rule(color="#A0A0A0", strokeWidth=1)
        .encode(x=days_axis("at"), y=lane_y("top", count), y2="bottom:Q")
    )
    total: Counter[str] = sum(hours.values(), Counter())
    seen = sum(seconds for status, seconds in total.items() if status != "unknown")
    labels = [(names[agent], _share("running", hours[agent])) for agent in shown]
    unseen = _pct(total["unknown"], seen + total["unknown"])
    unknown = f"hatched: not known ({unseen} of the time)" if total["unknown"] else "reads came in time"
    return finish(
        lanes + hatch + lane_names(labels, 90),
        f"Agents were running {_pct(total['running'], seen)} and blocked {_pct(total['blocked'], seen)} of the time in "
        f"which they were seen"
        if seen
        else "Nobody looked at the agents often enough to say what they did",
        f"Last {(end - start).days} days; {unknown}. What a read sees is drawn until the next read: short work between "
        "two reads is not in it.",
        LANE_PIXELS * count,
    )


def blockages(rows: Rows) -> Chart:
    """Draw for how long each agent was seen blocked, and on which task.

    Args:
        rows: Rows of ``agent_timeline``.
    """
    names = _distinct_names(rows)
    blocked = [row for row in rows if row["status"] == "blocked" and number(row["hours"]) > 0]
    if not blocked:
        return nothing("No agent was seen blocked" + (" yet" if not rows else ""))
    per_agent: dict[str, float] = defaultdict(float)
    on_task: dict[tuple[str, str], float] = defaultdict(float)
    seen: dict[str, float] = defaultdict(float)
    for row in rows:
        if row["status"] not in ("unknown", "gone"):
            seen[row["agent_id"]] += number(row["hours"])
    for row in blocked:
        per_agent[row["agent_id"]] += number(row["hours"])
        on_task[row["agent_id"], row["current_task"] or "no task named"] += number(row["hours"])
    agents = sorted(per_agent, key=lambda agent: (-per_agent[agent], agent))
    shown = agents[:MOST_LANES]
    data = []
    for lane, agent in enumerate(shown):
        reached = 0.0
        for (_, task), hours in sorted(
            ((key, hours) for key, hours in on_task.items() if key[0] == agent), key=lambda item: (-item[1], item[0])
        ):
            place = {"top": lane + TOP, "bottom": lane + BOTTOM}
            end = reached + hours / 24
            data.append(
                {**place, "agent": names[agent], "task": task, "from": reached, "to": end, "long": say_hours(hours)}
            )
            reached = end
    count = len(shown)
    bars = (
        alt.Chart(inline(data))
        .mark_rect(color=VERMILION, stroke="white", strokeWidth=2)
        .encode(
            x=alt.X(
                "from:Q",
                title="days blocked",
                axis=alt.Axis(grid=False, tickCount=6),
                scale=alt.Scale(zero=True, nice=False),
            ),
            x2="to:Q",
            y=lane_y("top", count),
            y2="bottom:Q",
            tooltip=[alt.Tooltip("agent:N"), alt.Tooltip("task:N"), alt.Tooltip("long:N", title="blocked for")],
        )
    )
    labels = [
        (
            f"{names[agent]}, longest on: {max(_of(on_task, agent), key=lambda item: (item[1], item[0]))[0]}",
            f"{say_hours(per_agent[agent])}, {_pct(per_agent[agent], seen[agent])}",
        )
        for agent in shown
    ]
    first, total = agents[0], sum(per_agent.values())
    return finish(
        bars + lane_names(labels, 90),
        f"Agents were blocked for {say_hours(total)} in all, {names[first]} longest ({say_hours(per_agent[first])})",
        "One piece per task. At the right: the sum, and its share of the time in which the agent was seen. Known only "
        "to within the gap between two reads.",
        LANE_PIXELS * count,
    )


def cost_per_artifact(rows: Rows) -> Chart:
    """Draw what an approved artifact costs at each agent: all its cost over all its approvals.

    Args:
        rows: Rows of ``agent_throughput_daily``.
    """
    since = _history_begins(rows)
    names = {row["agent_id"]: row["agent_name"] for row in rows}
    cost: dict[str, float] = defaultdict(float)
    approved: dict[str, float] = defaultdict(float)
    for row in rows:
        if since is not None and row["day"] >= since:
            cost[row["agent_id"]] += number(row["cost_usd"])
            approved[row["agent_id"]] += number(row["artifacts_approved"])
    priced = {agent: cost[agent] / approved[agent] for agent in cost if cost[agent] and approved[agent]}
    if since is None or not priced:
        return nothing("No approved artifact with a cost yet")
    agents = sorted(priced, key=lambda agent: (-priced[agent], agent))
    shown, count = agents[:MOST_LANES], min(len(agents), MOST_LANES)
    every = sum(cost[agent] for agent in priced) / sum(approved[agent] for agent in priced)
    data = [
        {
            "agent": names[agent],
            "price": priced[agent],
            "approved": approved[agent],
            "cost": cost[agent],
            "top": lane + TOP,
            "bottom": lane + BOTTOM,
        }
        for lane, agent in enumerate(shown)
    ]
    bars = (
        alt.Chart(inline(data))
        .mark_rect(color=BLUE)
        .encode(
            x=alt.X(
                "price:Q",
                title="US dollars per approved artifact",
                axis=alt.Axis(grid=False, format="$.2f", tickCount=5),
            ),
            x2=alt.datum(0),
            y=lane_y("top", count),
            y2="bottom:Q",
            tooltip=[
                alt.Tooltip("agent:N"),
                alt.Tooltip("price:Q", title="per approved artifact", format="$.2f"),
                alt.Tooltip("approved:Q", title="approved artifacts"),
                alt.Tooltip("cost:Q", title="cost of all its work", format="$.2f"),
            ],
        )
    )
    mean = (
        alt.Chart(inline([{"every": every}]))
        .mark_rule(color=ORANGE, strokeWidth=2, strokeDash=[5, 4])
        .encode(x="every:Q", tooltip=[alt.Tooltip("every:Q", title="all agents", format="$.2f")])
    )
    labels = [(names[agent] or agent, f"${priced[agent]:.2f}, {approved[agent]:.0f} approved") for agent in shown]
    idle = sum(1 for agent in cost if cost[agent] and not approved[agent])
    rest = f" {plural(idle, 'agent')} with cost and no approval left out." if idle else ""
    dearest, cheapest = agents[0], agents[-1]
    return finish(
        bars + mean + lane_names(labels, 120),
        f"An approved artifact costs ${every:.2f}: "
        f"${priced[cheapest]:.2f} at {names[cheapest]}, ${priced[dearest]:.2f} at {names[dearest]}"
        if len(agents) > 1
        else f"An approved artifact costs ${every:.2f}",
        f"All that an agent cost since {say_day(since)}, tasks included, over its approvals. Dashed: all agents.{rest}",
        LANE_PIXELS * count,
    )


_TIMELINE_COLOURS: Mapping[str, str] = {**STATUS_COLOURS, "idle": "#D0D0D0", "unknown": "#F4F4F4"}


def _history_begins(rows: Rows) -> date | None:
    """Return the first day of which history says anything."""
    told = (row["day"] for row in rows if any(row[name] is not None for name in FROM_HISTORY))
    return min(told, default=None)


def _whole_weeks(rows: Rows, measure: str) -> list[date]:
    """Return the Mondays of the weeks that are known from end to end."""
    if not rows:
        return []
    first = _history_begins(rows) if measure in FROM_HISTORY else min(row["day"] for row in rows)
    if first is None:
        return []
    last = max(row["day"] for row in rows)
    monday = first + timedelta(days=-first.weekday() % 7)
    weeks = []
    # The last day is the day of the last read, and not over.
    while monday + timedelta(days=6) < last:
        weeks.append(monday)
        monday += timedelta(days=7)
    return weeks[-MOST_WEEKS:]


def _mean(per_week: Mapping[date, float], weeks: list[date]) -> float:
    return sum(per_week[week] for week in weeks) / len(weeks) if weeks else 0.0


def _compare(now: float, before: float) -> str:
    if not before:
        return ", none in the four weeks before"
    change = round(100 * (now / before - 1))
    if not change:
        return ", as many as in the four weeks before"
    return f", {abs(change)} % {'more' if change > 0 else 'fewer'} than in the four weeks before"


def _hours(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() / 3600


def _pct(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def _share(status: str, seconds: Mapping[str, float]) -> str:
    seen = sum(value for name, value in seconds.items() if name != "unknown")
    return f"{_pct(seconds[status], seen)} {status}" if seen else "not seen"


def _of(on_task: Mapping[tuple[str, str], float], agent: str) -> list[tuple[str, float]]:
    return [(task, hours) for (found, task), hours in on_task.items() if found == agent]


def _distinct_names(rows: Rows) -> dict[str, str]:
    """Return a name per agent id; with the id where two agents share a name."""
    names = {row["agent_id"]: row["agent_name"] or row["agent_id"] for row in rows}
    often = Counter(names.values())
    return {agent: name if often[name] == 1 else f"{name} ({agent})" for agent, name in names.items()}


def _hatches(bars: list[dict[str, Any]], start: datetime, end: datetime) -> list[dict[str, Any]]:
    step = (end - start) / MOST_HATCHES
    found = []
    for bar in bars:
        moment = bar["from"] + step / 2
        while bar["status"] == "unknown" and moment < bar["to"]:
            found.append({"at": moment, "top": bar["top"], "bottom": bar["bottom"]})
            moment += step
    return found
