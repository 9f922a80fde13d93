"""Content of the cost charts: cost per week and provider, per model, per outcome, and the share that is unknown.

Amounts from receipts are OrgX's estimates, amounts from usage are counted by OrgX; no chart adds the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from orgx_source.charts.findings.agents import MOST_WEEKS, TREND_WEEKS, WEEK, weeks_between
from orgx_source.charts.findings.caption import MOST_LANES, Caption, Lane, Mark, Nothing
from orgx_source.charts.findings.decisions import LEAST_CASES
from orgx_source.charts.findings.rows import Row, Rows, number
from orgx_source.charts.findings.wording import inflected, plural, say_day, say_pct, say_shown

ESTIMATE, COUNTED = "estimated", "counted by OrgX"
KNOWN, UNKNOWN = "known cost", "no known cost"
OUTCOMES = {"no_run": "receipts without a known run", "unknown": "no outcome"}
# From this factor, a change is stated as a multiple instead of a percentage.
MANY_TIMES = 3
# Wording of these outcomes in the title.
ENDINGS = {"shipped": "if it shipped", "failed": "if it failed"}


def say_outcome(outcome: str) -> str:
    """Return an outcome in words."""
    return OUTCOMES.get(outcome, outcome.replace("_", " "))


def say_usd(usd: float) -> str:
    """Return ``$1,234.50``; amounts below a cent have more digits."""
    return f"${usd:,.4f}" if 0 < usd < 0.01 else f"${usd:,.2f}"


def _dollars(rows: Iterable[Row], column: str) -> float:
    # A database adds in any order, so the last digits of its sums vary between queries.
    return round(sum(round(number(row[column]), 6) for row in rows), 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyCost(Caption):
    """Cost of runs per week.

    Attributes:
        most: The highest cost of a provider in a week, in US dollars.
        bars: One per provider and week with a cost.
        lanes: Name of the provider, and its cost per week.
    """

    most: float
    bars: list[Mark]
    lanes: list[Lane]


def describe_weekly_cost(rows: Rows) -> WeeklyCost | Nothing:
    """Describe the cost of runs per full week and provider, compared with the weeks before.

    Args:
        rows: Rows of ``cost_daily``.
    """
    dated = [row for row in rows if row["day"] is not None]
    days = [row["day"] for row in dated]
    weeks = weeks_between(min(days), max(days))[-MOST_WEEKS:] if days else []
    shown = [row for row in dated if _monday(row["day"]) in weeks]
    per_week = _per_week(shown)
    providers = sorted(per_week, key=lambda name: (-sum(per_week[name].values()), name))[:MOST_LANES]
    if not providers:
        return Nothing("No cost in a full week yet")
    # Before the first read, only the receipts of thirty days are known: with fewer weeks, a change proves nothing.
    recent, earlier = (
        weeks[-TREND_WEEKS:],
        weeks[-2 * TREND_WEEKS : -TREND_WEEKS] if weeks[2 * TREND_WEEKS - 1 :] else [],
    )
    now, before = (sum(_mean(found, part) for found in per_week.values()) for part in (recent, earlier))
    most = max(usd for found in per_week.values() for usd in found.values())
    receipts, unknown = (sum(row[name] for row in shown) for name in ("receipts", "receipts_without_cost"))
    return WeeklyCost(
        finding=f"Runs cost about {say_usd(now)} a week up to {say_day(weeks[-1] + timedelta(days=6))}"
        + (_say_change(now, before) if earlier else ""),
        how="OrgX's estimates per full week and provider, from receipts; all lanes share one scale (highest bar: "
        f"{say_usd(most)}). {say_pct(unknown, receipts)} of {plural(receipts, 'receipt')} "
        f"{inflected(unknown, 'has', 'have')} no known cost and {inflected(unknown, 'is', 'are')} not in any bar."
        + _say_undated(len(rows) - len(dated)),
        most=most,
        bars=[_week_bar(lane, name, week, per_week[name][week]) for lane, name in enumerate(providers)
              for week in weeks if per_week[name].get(week)],
        lanes=[(name, _say_pace(_mean(per_week[name], recent), _mean(per_week[name], earlier), earlier))
               for name in providers],
    )  # fmt: skip


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _per_week(rows: Rows) -> dict[str, dict[date, float]]:
    """Return the cost per provider and week, by its Monday, where there is any."""
    found: dict[str, dict[date, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if number(row["cost_estimate_usd"]):
            found[row["provider"]][_monday(row["day"])].append(row)
    return {
        name: {week: _dollars(few, "cost_estimate_usd") for week, few in sorted(weeks.items())}
        for name, weeks in sorted(found.items())
    }


def _mean(per_week: dict[date, float], weeks: Sequence[date]) -> float:
    return round(sum(per_week.get(week, 0.0) for week in weeks) / len(weeks), 6) if weeks else 0.0


def _week_bar(lane: int, provider: str, week: date, usd: float) -> Mark:
    return {
        "provider": provider,
        "from": week + timedelta(days=1),
        "to": week + WEEK,
        "week": f"{say_day(week)} to {say_day(week + timedelta(days=6))}",
        "usd": usd,
        "lane": lane,
        "kind": ESTIMATE,
    }


def _say_pace(now: float, before: float, earlier: Sequence[date]) -> str:
    return f"\u2248 {say_usd(now)} a week" + (f", was {say_usd(before)}" if earlier else "")


def _say_change(now: float, before: float) -> str:
    if not before:
        return ", up from nothing in the four weeks before"
    if now / before >= MANY_TIMES:
        return f", {now / before:.0f} times as much as in the four weeks before"
    change = round(100 * (now / before - 1))
    if not change:
        return ", the same as in the four weeks before"
    return f", {abs(change)} % {'more' if change > 0 else 'less'} than in the four weeks before"


def _say_undated(count: int) -> str:
    return f" {plural(count, 'row')} without a day {inflected(count, 'is', 'are')} excluded." if count else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedCost(Caption):
    """Cost that OrgX counts in the plan period.

    Attributes:
        bars: One per model, or per provider if OrgX names no model.
        lanes: Its name and cost.
    """

    bars: list[Mark]
    lanes: list[Lane]


def describe_counted_cost(rows: Rows) -> CountedCost | Nothing:
    """Describe the cost that OrgX counts in the newest period, by model or else by provider, most expensive first.

    Args:
        rows: Rows of ``stg_orgx__usage``.
    """
    current = [row for row in rows if row["is_current"] and row["cost_usd"] is not None]
    by = next((kind for kind in ("model", "provider") if any(row["breakdown"] == kind for row in current)), None)
    if by is None:
        return Nothing("No cost counted by model or provider yet")
    found = sorted((row for row in current if row["breakdown"] == by), key=lambda row: (-row["cost_usd"], row["label"]))
    shown = found[:MOST_LANES]
    total = _dollars((row for row in current if row["breakdown"] == "total"), "cost_usd") or _dollars(found, "cost_usd")
    first = shown[0]
    return CountedCost(
        finding=f"OrgX has counted {say_usd(total)} since {say_day(first['period_start'])}"
        f"; {first['label']} accounts for {say_pct(number(first['cost_usd']), total)}",
        how=f"OrgX's own totals for the plan period, by {by}, rounded to a cent. Counted, not estimated: they can "
        f"differ from the totals of receipts.{say_shown(len(shown), len(found), f'the most expensive {by}s')}",
        bars=[
            {"name": row["label"], "usd": round(number(row["cost_usd"]), 6), "lane": lane, "kind": COUNTED}
            for lane, row in enumerate(shown)
        ],
        lanes=[
            (row["label"], f"{say_usd(number(row['cost_usd']))}, {plural(row['runs'] or 0, 'run')}") for row in shown
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCost(Caption):
    """Cost of a run, by outcome.

    Attributes:
        bars: One per outcome with a known cost.
        lanes: The outcome, and its cost per run.
    """

    bars: list[Mark]
    lanes: list[Lane]


def describe_cost_per_outcome(rows: Rows) -> OutcomeCost | Nothing:
    """Describe the average cost of runs with a known cost, by outcome, most expensive first.

    Args:
        rows: Rows of ``cost_per_outcome``.
    """
    known = [row for row in rows if number(row["cost_per_run_usd"])]
    if not known:
        return Nothing("No runs with a known cost yet")
    known.sort(key=lambda row: (-round(number(row["cost_per_run_usd"]), 6), row["outcome"]))
    price = {row["outcome"]: round(number(row["cost_per_run_usd"]), 6) for row in known}
    every = _dollars(known, "cost_estimate_usd") / sum(row["runs_with_cost"] for row in known)
    endings = [f"{say_usd(price[name])} {words}" for name, words in ENDINGS.items() if name in price]
    return OutcomeCost(
        finding=f"A run costs about {say_usd(every)}" + (f": {', '.join(endings)}" if endings else ""),
        how="Average of OrgX's estimates over the runs with a known cost. With few runs, differences can be due to "
        "chance." + _say_without_run(rows),
        bars=[
            {"outcome": say_outcome(row["outcome"]), "usd": price[row["outcome"]], "runs": row["runs_with_cost"],
             "lane": lane, "kind": ESTIMATE}
            for lane, row in enumerate(known)
        ],
        lanes=[(say_outcome(row["outcome"]), f"\u2248 {say_usd(price[row['outcome']])}, {_say_runs(row)}")
               for row in known],
    )  # fmt: skip


def _say_runs(row: Row) -> str:
    return f"{row['runs_with_cost']:,} of {plural(row['runs'], 'run')}"


def _say_without_run(rows: Rows) -> str:
    usd = _dollars((row for row in rows if row["outcome"] == "no_run"), "cost_estimate_usd")
    return f" Excludes receipts without a known run ({say_usd(usd)})." if usd else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownCost(Caption):
    """Runs without a known cost.

    Attributes:
        bars: For each outcome, the share of runs with a known cost, and of those without.
        lanes: The outcome, and the number of its runs without a known cost.
    """

    bars: list[Mark]
    lanes: list[Lane]


def describe_runs_without_cost(rows: Rows) -> UnknownCost | Nothing:
    """Describe the share of runs without a known cost, by outcome, outcome with the most runs first.

    Args:
        rows: Rows of ``cost_per_outcome``.
    """
    found = sorted((row for row in rows if row["runs"]), key=lambda row: (-row["runs"], row["outcome"]))
    if not found:
        return Nothing("No runs yet")
    runs, unknown = (sum(row[name] for row in found) for name in ("runs", "runs_without_cost"))
    return UnknownCost(
        finding=f"{say_pct(unknown, runs)} of {plural(runs, 'run')} {inflected(unknown, 'has', 'have')} no known cost"
        + _say_shares([row for row in found if row["runs"] >= LEAST_CASES]),
        how="Hatched: runs without a known cost. No total includes them, so totals are too low if many are unknown.",
        bars=[bar for lane, row in enumerate(found) for bar in _share_bars(lane, row)],
        lanes=[
            (say_outcome(row["outcome"]), f"{row['runs_without_cost']:,} of {plural(row['runs'], 'run')} unknown")
            for row in found
        ],
    )


def _say_shares(rows: Rows) -> str:
    shares = {row["outcome"]: say_pct(row["runs_without_cost"], row["runs"]) for row in rows}
    said = [f"{say_outcome(name)}: {shares[name]}" for name in ENDINGS if name in shares]
    return f" ({', '.join(said)})" if said and len(rows) > 1 else ""


def _share_bars(lane: int, row: Row) -> list[Mark]:
    place = round(100 * row["runs_with_cost"] / row["runs"], 6)
    bars = [(KNOWN, 0.0, place, row["runs_with_cost"]), (UNKNOWN, place, 100.0, row["runs_without_cost"])]
    return [
        {"outcome": say_outcome(row["outcome"]), "kind": kind, "from": begin, "to": end, "runs": count, "lane": lane}
        for kind, begin, end, count in bars
        if count
    ]
