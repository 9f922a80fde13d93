"""The charts: each function turns rows of a mart into an Altair chart whose title states the finding.

The notebooks and the report share these charts. `findings` computes the content and wording of a chart from plain rows,
without altair; `initiatives`, `agents`, `decisions` and `costs` draw it. Estimates are in `estimates`, colours in
`style`.
"""

from __future__ import annotations

from orgx_source.charts.agents import blockages, cost_per_artifact, throughput, timeline
from orgx_source.charts.costs import cost_per_outcome, cost_per_week, counted_cost, runs_without_cost
from orgx_source.charts.decisions import decision_survival, decision_waits, decisions_open, waiting_now
from orgx_source.charts.initiatives import burn_up, forecast, portfolio, progress_lines, stalls

__all__ = [
    "blockages",
    "burn_up",
    "cost_per_artifact",
    "cost_per_outcome",
    "cost_per_week",
    "counted_cost",
    "decision_survival",
    "decision_waits",
    "decisions_open",
    "forecast",
    "portfolio",
    "progress_lines",
    "runs_without_cost",
    "stalls",
    "throughput",
    "timeline",
    "waiting_now",
]
