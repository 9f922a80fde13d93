"""The charts: one function each, from rows of a mart to an Altair chart whose title says what the rows show.

Notebooks and the report page draw the same charts. `findings` decides what a chart shows and says, on plain rows and
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
