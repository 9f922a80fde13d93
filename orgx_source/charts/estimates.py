"""What is estimated rather than counted: the share of decisions that still wait, and when open tasks will be done.

Plain arithmetic on rows, without pictures. Simulations have a fixed seed: equal rows give equal numbers.
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
# From fewer weeks than six, the next weeks are a guess.
LEAST_DAYS = 42
HORIZON_DAYS = 182
# Sampled in weeks: work has weekdays, and reads that are days apart bring several days at once.
BLOCK_DAYS = 7
PATHS = 1000


@dataclass(frozen=True, slots=True)
class SurvivalPoint:
    """One step of a curve of survival.

    Attributes:
        hours: When the step is.
        share: Share that lasts longer, 0 to 1.
        low, high: Its 95 % confidence interval.
        at_risk: How many were watched just before.
    """

    hours: float
    share: float
    low: float
    high: float
    at_risk: int


def estimate_survival(waits: Sequence[tuple[float, bool]]) -> list[SurvivalPoint]:
    """Estimate the share that lasts longer than a time, where some are still under way (Kaplan and Meier).

    Args:
        waits: Hours and whether it ended then; if not, all that is known is that it lasted longer.

    Returns:
        A point at each time when one ended. The interval is Greenwood's, on the scale of log(-log).
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
    """Return the step that holds after so many hours."""
    start = SurvivalPoint(0.0, 1.0, 1.0, 1.0, points[0].at_risk if points else 0)
    return max((point for point in points if point.hours <= hours), key=lambda point: point.hours, default=start)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Open tasks, and how they go down.

    Attributes:
        history: Open tasks at the end of each day of the window.
        days: Day, 10th, 50th and 90th percentile of the open tasks if none is added, and the median if the number of
            open tasks changes as it did in the window.
        done_per_day: Tasks done per day in the window.
        added_per_day: Tasks per day that were new in the window, counted per initiative and day: never less than 0.
        ends: First day without open tasks on the 10th, 50th and 90th percentile of the paths; None beyond the horizon.
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
    """Project the open tasks: simulate the coming weeks by resampling weeks from the last eight.

    Args:
        data: A DataFrame of ``initiative_progress_daily``.
        seed: Of the simulations.

    Returns:
        The projection; None with less than six weeks of history.
    """
    rows = rows_of(data)
    done: dict[date, float] = defaultdict(float)
    open_tasks: dict[date, int] = defaultdict(int)
    seen: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: row["day"]):
        day, initiative = row["day"], row["initiative_id"]
        now = row["tasks_done"] or 0
        # Of what is done when an initiative is seen first, nobody knows when that was.
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
    """Return how many tasks were new after a day: the rises in the number that each initiative lists, day by day.

    All tasks of an initiative that was first seen after that day are new.

    Args:
        rows: Rows of ``initiative_progress_daily``.
        since: The last day that is not counted.
        done_too: Whether tasks that were done when their initiative was first seen count as well.
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
    """Return simulated paths of open tasks per day ahead: if nothing is added, and if the number changes as it did."""
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
    """Return a quantile, between the two nearest numbers where need be.

    Args:
        numbers: At least one.
        share: 0 to 1.
    """
    ordered = sorted(numbers)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
