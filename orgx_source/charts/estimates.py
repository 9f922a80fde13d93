"""Estimates: the share of decisions still waiting, and when open tasks will be done.

Arithmetic on rows; nothing is drawn here. Simulations have a fixed seed: the same rows give the same numbers.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from orgx_source.charts.findings.rows import FINISHED, Data, Rows, count_tasks, rows_of

Z95 = 1.959963984540054

WINDOW_DAYS = 56
# Fewer than six weeks of history are too few for a forecast.
LEAST_DAYS = 42
HORIZON_DAYS = 182
# Sampled in weeks: work depends on the weekday, and a read after several days brings all of their changes at once.
BLOCK_DAYS = 7
PATHS = 1000


@dataclass(frozen=True, slots=True)
class SurvivalPoint:
    """One step of a survival curve.

    Attributes:
        hours: Time of the step.
        share: Share that lasts longer, 0 to 1.
        low, high: Its 95 % confidence interval.
        at_risk: Number of cases under observation just before.
    """

    hours: float
    share: float
    low: float
    high: float
    at_risk: int


def estimate_survival(waits: Sequence[tuple[float, bool]]) -> list[SurvivalPoint]:
    """Estimate the share of waits that last longer than a given time, if some have not ended (Kaplan and Meier).

    Args:
        waits: Hours, and whether the wait ended then; if not, it is only known to have lasted longer.

    Returns:
        One point per time at which a wait ended. The interval is Greenwood's, on the log(-log) scale.
    """
    points: list[SurvivalPoint] = []
    at_risk, share, spread = len(waits), 1.0, 0.0
    ends: dict[float, list[int]] = defaultdict(lambda: [0, 0])
    for hours, is_end in waits:
        ends[hours][0] += is_end
        ends[hours][1] += 1
    for hours in sorted(ends):
        ended, left = ends[hours]
        if ended:
            share *= 1 - ended / at_risk
            if ended < at_risk:
                spread += ended / (at_risk * (at_risk - ended))
                reach = Z95 * math.sqrt(spread) / -math.log(share)
                low, high = share ** math.exp(reach), share ** math.exp(-reach)
            else:
                low, high = 0.0, points[-1].high if points else 1.0
            points.append(SurvivalPoint(hours, share, low, high, at_risk))
        at_risk -= left
    return points


def share_after(points: Sequence[SurvivalPoint], hours: float) -> SurvivalPoint:
    """Return the step that applies after a number of hours."""
    start = SurvivalPoint(0.0, 1.0, 1.0, 1.0, points[0].at_risk if points else 0)
    return max((point for point in points if point.hours <= hours), key=lambda point: point.hours, default=start)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Open tasks so far, and their simulated future.

    Attributes:
        history: Open tasks at the end of each day of the window.
        days: Day; 10th, 50th and 90th percentile of the open tasks if no tasks are added; and the median if the number
            of open tasks changes as it did in the window.
        done_per_day: Tasks done per day in the window.
        added_per_day: New tasks per day in the window, counted per initiative and day; never less than 0.
        ends: First day without open tasks: 10th, 50th and 90th percentile of the paths; None beyond the horizon.
    """

    history: list[tuple[date, int]]
    days: list[tuple[date, float, float, float, float]]
    done_per_day: float
    added_per_day: float
    ends: tuple[date | None, date | None, date | None]

    @property
    def remaining(self) -> int:
        """Open tasks on the last day."""
        return self.history[-1][1]


def forecast_remaining(data: Data, seed: int = 7) -> Forecast | None:
    """Forecast the open tasks: simulate the coming weeks by resampling weeks from the last eight.

    Args:
        data: A DataFrame of ``initiative_progress_daily``.
        seed: Seed of the simulations.

    Returns:
        The forecast; None with less than six weeks of history.
    """
    rows = rows_of(data)
    done: dict[date, float] = defaultdict(float)
    open_tasks: dict[date, int] = defaultdict(int)
    seen: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: row["day"]):
        day, initiative = row["day"], row["initiative_id"]
        now = row["tasks_done"] or 0
        # Tasks already done when their initiative is first seen have no known completion day.
        done[day] += now - seen.get(initiative, now)
        seen[initiative] = now
        open_tasks[day] += 0 if row["status_group"] in FINISHED else count_tasks(row) - now
    known = sorted(open_tasks)[-WINDOW_DAYS - 1 :]
    if not known or (known[-1] - known[0]).days < LEAST_DAYS:
        return None
    last, start = known[-1], open_tasks[known[-1]]
    finished = [done[day] for day in known[1:]]
    net = [float(open_tasks[day] - open_tasks[before]) for before, day in pairwise(known)]
    fixed, growing = _draw(start, finished, net, seed)
    low, middle, high = (_ends(fixed, last, share) for share in (0.1, 0.5, 0.9))
    shown = HORIZON_DAYS if high is None else min(HORIZON_DAYS, max(21, (high - last).days + 7))
    days = []
    for ahead in range(shown + 1):
        level = sorted(path[ahead] for path in fixed)
        net_level = sorted(path[ahead] for path in growing)
        quantiles = (_quantile(level, 0.1), _quantile(level, 0.5), _quantile(level, 0.9))
        days.append((last + timedelta(days=ahead), *quantiles, _quantile(net_level, 0.5)))
    added = count_added(rows, known[0], done_too=False)
    return Forecast(
        [(day, open_tasks[day]) for day in known],
        days,
        sum(finished) / len(finished),
        added / len(finished),
        (low, middle, high),
    )


def count_added(rows: Rows, since: date, *, done_too: bool) -> int:
    """Return the number of new tasks after a day: the daily increases in the number of tasks of each initiative.

    All tasks of an initiative first seen after that day are new.

    Args:
        rows: Rows of ``initiative_progress_daily``.
        since: The last day that does not count.
        done_too: Whether to count tasks that were already done when their initiative was first seen.
    """
    added = 0
    listed: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: row["day"]):
        initiative, total = row["initiative_id"], row["tasks_total"] or 0
        if row["day"] > since:
            added += max(0, total - listed.get(initiative, 0 if done_too else row["tasks_done"] or 0))
        listed[initiative] = total
    return added


def _draw(
    start: int, finished: Sequence[float], net: Sequence[float], seed: int
) -> tuple[list[list[float]], list[list[float]]]:
    """Return simulated paths of open tasks per day ahead: without new tasks, and with net changes as in the window."""
    chance = random.Random(seed)
    fixed, growing = [], []
    for _ in range(PATHS):
        left, level = [float(start)], [float(start)]
        while len(left) <= HORIZON_DAYS:
            begin = chance.randrange(len(finished))
            for step in range(begin, begin + BLOCK_DAYS):
                left.append(max(0.0, left[-1] - finished[step % len(finished)]))
                level.append(max(0.0, level[-1] + net[step % len(net)]))
        fixed.append(left[: HORIZON_DAYS + 1])
        growing.append(level[: HORIZON_DAYS + 1])
    return fixed, growing


def _ends(paths: Sequence[Sequence[float]], last: date, share: float) -> date | None:
    ends = sorted(next((ahead for ahead, left in enumerate(path) if left <= 0), HORIZON_DAYS + 1) for path in paths)
    ahead = ends[round(share * (len(ends) - 1))]
    return None if ahead > HORIZON_DAYS else last + timedelta(days=ahead)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))]


def quantile(numbers: Sequence[float], share: float) -> float:
    """Return a quantile, interpolated between the two nearest numbers.

    Args:
        numbers: At least one number.
        share: The quantile, 0 to 1.
    """
    ordered = sorted(numbers)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
