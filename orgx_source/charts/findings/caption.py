"""What every chart says in words: its finding and how it was counted, or why there is nothing to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Lane: TypeAlias = tuple[str, str]
"""The name at the left of a lane, and the note at its right."""

Mark: TypeAlias = dict[str, Any]
"""What one mark of a chart shows, by field. ``lane`` is the number of its lane; 0 is the top one."""

MOST_LANES = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """The words of a chart.

    Attributes:
        finding: What the rows show, as a sentence; the title.
        how: How it was counted, or what it assumes; the subtitle.
    """

    finding: str
    how: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """A chart with nothing to draw.

    Attributes:
        why: The reason; the title.
    """

    why: str
