"""The text of a chart: its finding and how it was counted, or why there is nothing to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Lane: TypeAlias = tuple[str, str]
"""The name on the left of a lane, and the note on its right."""

Mark: TypeAlias = dict[str, Any]
"""The fields of one mark of a chart. ``lane`` is the number of its lane; 0 is the top one."""

MOST_LANES = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """The text of a chart.

    Attributes:
        finding: The title: what the rows show, as a sentence.
        how: The subtitle: how it was counted, or what it assumes.
    """

    finding: str
    how: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """A chart with nothing to draw.

    Attributes:
        why: The title: the reason.
    """

    why: str
