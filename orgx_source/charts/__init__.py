"""The pictures: one function each, from rows of a mart to an Altair chart whose title says what the rows show.

Notebooks and the report page draw the same ones. Rows come in, nothing is asked of any database; what is estimated
rather than counted stands in `estimates`, colours and type in `style`.
"""

from __future__ import annotations

from orgx_source.charts.agents import blockages, cost_per_artifact, throughput, timeline
from orgx_source.charts.decisions import decision_survival, decision_waits, decisions_open, waiting_now
from orgx_source.charts.initiatives import burn_up, forecast, portfolio, progress_lines, stalls

__all__ = [
    "blockages",
    "burn_up",
    "cost_per_artifact",
    "decision_survival",
    "decision_waits",
    "decisions_open",
    "forecast",
    "portfolio",
    "progress_lines",
    "stalls",
    "throughput",
    "timeline",
    "waiting_now",
]
