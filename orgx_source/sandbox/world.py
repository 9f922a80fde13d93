"""The organisation that the sandbox serves: seeded rows, a simulated clock, and ways to change them.

Rows are what OrgX would store, in snake_case; the app decides how each route shows them.
"""

from __future__ import annotations

import copy
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Row = dict[str, Any]

START = datetime(2026, 4, 13, 6, 0, tzinfo=UTC)
# Types known to the list of entities and to the search.
ENTITIES = ("initiative", "workstream", "milestone", "task", "agent", "decision", "artifact", "run")
TYPES = (
    "workspace",
    *ENTITIES,
    "activity",
    "session",
    "execution_receipt",
    "work_receipt",
    "handoff",
    "handoff_event",
)
# Rows to which OrgX adds no timestamps of its own.
UNSTAMPED = frozenset({"workspace", "agent", "activity", "session", "execution_receipt", "handoff_event"})
# From a separate generator: the cost of agents does not change the organisation itself.
DRAWN_APART = frozenset({"session", "execution_receipt", "work_receipt", "handoff", "handoff_event"})
SIZES = {"small": 12, "medium": 60, "large": 3_170}
# Column of a row's parent, for types that are summed up in their parents.
PARENT_KEYS = {"task": "milestone_id", "milestone": "workstream_id"}


@dataclass(frozen=True, slots=True)
class Truth:
    """The true state at one moment, counted by the world itself.

    Attributes:
        at: The moment (UTC).
        initiatives: Id to (status, progress_pct).
        tasks: Initiative id to its number of tasks by status.
        decisions, artifacts: Their number by status.
        agents: Agent id to status.
    """

    at: datetime
    initiatives: dict[str, tuple[str, float | None]]
    tasks: dict[str, Counter[str]]
    decisions: Counter[str]
    artifacts: Counter[str]
    agents: dict[str, str]


class World:
    """A sample organisation; equal seeds and calls give equal organisations.

    Attributes:
        now: The simulated time (UTC).
        log: All changes since the world was created: (time, entity type, id, action).
        truths: The true state at each midnight, and at the end of each `advance`.
        lock: Must be held to read or change rows.
    """

    def __init__(self, size: str = "small", seed: int = 7, start: datetime = START) -> None:
        """Create the organisation as of ``start``.

        Args:
            size: ``small`` (12 initiatives), ``medium`` (60, two workspaces) or ``large`` (100,000 tasks).
            seed: Random seed.
            start: Start of the simulated clock.

        Raises:
            ValueError: The size is unknown.
        """
        if size not in SIZES:
            raise ValueError(f"unknown size {size!r}; known sizes: {', '.join(SIZES)}")
        self.size = size
        self.rng = random.Random(f"{size}/{seed}")
        self.rng_of_runs = random.Random(f"{size}/{seed}/runs")
        self.now = start
        self.log: list[tuple[datetime, str, str, str]] = []
        self.truths: list[Truth] = []
        # Prices of runs and receipts, which OrgX does not report for each.
        self.spending: dict[str, Row] = {}
        self.lock = threading.RLock()
        self._rows: dict[str, dict[str, Row]] = {entity_type: {} for entity_type in TYPES}
        self._versions = dict.fromkeys(TYPES, 0)
        self._listings: dict[tuple[Any, ...], tuple[int, list[Row]]] = {}
        self._children: dict[tuple[str, str], dict[str, None]] = {}
        self._past: dict[str, dict[str, Row]] | None = None
        self._journal: list[tuple[datetime, str, str, Row | None]] = []
        from orgx_source.sandbox.founding import found

        found(self, SIZES[size])
        self.log.clear()

    def rows(self, entity_type: str) -> list[Row]:
        """Return copies of all current rows of a type."""
        with self.lock:
            return [dict(row) for row in self._rows[entity_type].values()]

    def get(self, entity_type: str, row_id: str) -> Row | None:
        """Return a copy of one row; None if it does not exist."""
        with self.lock:
            row = self._rows[entity_type].get(row_id)
            return None if row is None else dict(row)

    def find(self, entity_type: str) -> Mapping[str, Row]:
        """Return the live rows by id; read-only, with the lock held."""
        return self._rows[entity_type]

    def children(self, entity_type: str, parent_id: str) -> list[Row]:
        """Return the live tasks of a milestone, or milestones of a workstream, in order of creation."""
        rows = self._rows[entity_type]
        return [rows[row_id] for row_id in self._children.get((entity_type, parent_id), ())]

    def count(self, entity_type: str) -> int:
        """Return the number of rows of a type."""
        return len(self._rows[entity_type])

    def insert(self, entity_type: str, /, **fields: Any) -> Row:
        """Add a row; ``id``, ``created_at`` and ``updated_at`` are generated by default."""
        with self.lock:
            stamp = iso(self.now)
            own = entity_type in DRAWN_APART or (entity_type == "run" and "id" in fields)
            row: Row = {"id": self.new_id(self.rng_of_runs if own else self.rng), **fields}
            if entity_type not in UNSTAMPED:
                row.setdefault("created_at", stamp)
                row.setdefault("updated_at", stamp)
            self._rows[entity_type][row["id"]] = row
            if entity_type in PARENT_KEYS and row.get(PARENT_KEYS[entity_type]):
                self._children.setdefault((entity_type, row[PARENT_KEYS[entity_type]]), {})[row["id"]] = None
            self._touch(entity_type, row["id"], "insert")
            return dict(row)

    def edit(self, entity_type: str, row_id: str, /, *, touch: bool = True, **fields: Any) -> Row:
        """Change fields of a row, and its ``updated_at`` unless ``touch`` is False.

        Raises:
            KeyError: The row does not exist.
        """
        with self.lock:
            row = self._rows[entity_type][row_id]
            row.update(fields)
            if touch and entity_type not in UNSTAMPED:
                row["updated_at"] = iso(self.now)
            self._touch(entity_type, row_id, "edit")
            return dict(row)

    def delete(self, entity_type: str, row_id: str) -> None:
        """Delete a row permanently.

        Raises:
            KeyError: The row does not exist.
        """
        with self.lock:
            row = self._rows[entity_type].pop(row_id)
            if entity_type in PARENT_KEYS:
                self._children.get((entity_type, row.get(PARENT_KEYS[entity_type]) or ""), {}).pop(row_id, None)
            self._touch(entity_type, row_id, "delete")

    def remember(self) -> None:
        """Keep every version of every row from now on, for `at`."""
        with self.lock:
            self._past = {kind: {row["id"]: dict(row) for row in rows.values()} for kind, rows in self._rows.items()}
            self._journal.clear()

    def at(self, moment: datetime) -> World:
        """Return the world as of a moment, read-only; for moments before `remember`, the state at that call.

        Raises:
            ValueError: The world does not remember.
        """
        if self._past is None:
            raise ValueError("this world does not remember; call remember() first")
        rows = {kind: dict(found) for kind, found in self._past.items()}
        for when, kind, row_id, row in self._journal:
            if when > moment:
                continue
            # A changed row keeps its position, as in the world itself.
            if row is None:
                rows[kind].pop(row_id, None)
            else:
                rows[kind][row_id] = row
        return self._with(rows)

    def seen_by(self, sees: Callable[[str, Row], bool]) -> World:
        """Return a part of the world, read-only.

        Args:
            sees: Returns whether a row is included, by entity type and row.
        """
        return self._with(
            {kind: {key: row for key, row in rows.items() if sees(kind, row)} for kind, rows in self._rows.items()}
        )

    def _with(self, rows: dict[str, dict[str, Row]]) -> World:
        world = copy.copy(self)
        world._rows, world._listings, world._versions = rows, {}, dict.fromkeys(TYPES, 0)
        return world

    def advance(self, days: float = 0, hours: float = 0) -> None:
        """Advance time hour by hour: work progresses, new work appears, some rows are archived or deleted."""
        from orgx_source.sandbox.lifecycle import pass_hour

        with self.lock:
            until = self.now + timedelta(days=days, hours=hours)
            while self.now < until:
                pass_hour(self, min(timedelta(hours=1), until - self.now))
                if self.now.hour == 0 or self.now == until:
                    self.truths.append(self._truth())

    def _truth(self) -> Truth:
        tasks: dict[str, Counter[str]] = {}
        for row in self._rows["task"].values():
            tasks.setdefault(row["initiative_id"], Counter())[row["status"]] += 1
        return Truth(
            self.now,
            {row["id"]: (row["status"], row.get("progress_pct")) for row in self._rows["initiative"].values()},
            tasks,
            Counter(row["status"] for row in self._rows["decision"].values()),
            Counter(row["status"] for row in self._rows["artifact"].values()),
            {row["id"]: row["status"] for row in self._rows["agent"].values()},
        )

    def listing(self, entity_type: str, name: tuple[Any, ...], make: Callable[[list[Row]], list[Row]]) -> list[Row]:
        """Return a filtered and sorted list of live rows, cached until a row of the type changes."""
        key = (entity_type, *name)
        version, rows = self._listings.get(key, (-1, []))
        if version != self._versions[entity_type]:
            if len(self._listings) > 200:
                self._listings.clear()
            rows = make(list(self._rows[entity_type].values()))
            self._listings[key] = (self._versions[entity_type], rows)
        return rows

    def new_id(self, rng: random.Random | None = None) -> str:
        """Return the next UUID of this world."""
        digits = f"{(rng or self.rng).getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.rng.random() < probability

    def _touch(self, entity_type: str, row_id: str, action: str) -> None:
        self._versions[entity_type] += 1
        if self._past is not None:
            row = self._rows[entity_type].get(row_id)
            self._journal.append((self.now, entity_type, row_id, None if row is None else dict(row)))
        self.log.append((self.now, entity_type, row_id, action))


def iso(moment: datetime) -> str:
    """Return a time the way OrgX writes it: UTC, milliseconds, ``Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
