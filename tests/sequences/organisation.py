"""A small organisation that remembers its complete history, and which changes only a full read can detect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orgx_source.sandbox import World

HOME, FIELD = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@dataclass(frozen=True)
class InPlay:
    """A table used by sequences.

    Attributes:
        kind: Its type in the world.
        column: The column that changes.
        count: Number of rows.
    """

    kind: str
    column: str
    count: int


IN_PLAY = {
    "tasks": InPlay("task", "title", 24),
    "initiatives": InPlay("initiative", "title", 6),
    "agents": InPlay("agent", "name", 4),
    "activity": InPlay("activity", "title", 8),
}
# Few columns, for speed; one of each type that destinations may handle differently.
COLUMNS = frozenset(
    {
        "id", "title", "name", "status", "type", "workspace_id", "metadata", "instance_count", "created_at",
        "updated_at", "timestamp",
    }
)  # fmt: skip
TABLES_OF = {play.kind: table for table, play in IN_PLAY.items()}
# Tables whose rows have a time of change; agents are a snapshot, events never change.
STAMPED = ("task", "initiative")

State = tuple[str, datetime | None]
"""A version: its value with its status, and its time of change."""


@dataclass(frozen=True)
class Change:
    """A change in OrgX.

    Attributes:
        what: Name of one of the methods below.
        kind: The type of row.
        number: Which row, how long, or how many.
        value: The new value.
        pause: Seconds before the change.
    """

    what: str
    kind: str
    number: int
    value: str
    pause: int = 0


class Organisation:
    """The world, with the timeline of every row.

    Attributes:
        world: The world served by the sandbox.
        now: Number of the last change; the moments of this organisation are such numbers.
    """

    def __init__(self) -> None:
        self.world = World("small")
        self.now = 0
        self._timeline: dict[tuple[str, str], list[tuple[int, State | None]]] = defaultdict(list)
        self._gone: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        # Table to the moments of changes that only a full read can be expected to detect.
        self._blind: dict[str, list[int]] = defaultdict(list)
        # Table to (moment, change of OrgX's count minus the warehouse's) for changes that only a count can reveal.
        self._counted: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._prune()
        self.world.remember()
        for kind in TABLES_OF:
            for row_id in self.world.find(kind):
                self._note(kind, row_id)

    def _prune(self) -> None:
        world = self.world
        for play in IN_PLAY.values():
            for row_id in list(world.find(play.kind))[play.count :]:
                world.delete(play.kind, row_id)
        for kind in ("workspace", "workstream", "milestone", "decision", "artifact", "run"):
            for row_id in list(world.find(kind)):
                world.delete(kind, row_id)
        for workspace, name in ((HOME, "Home"), (FIELD, "Field")):
            world.insert("workspace", id=workspace, name=name)
        for kind in STAMPED:
            for number, row_id in enumerate(world.find(kind)):
                world.edit(kind, row_id, touch=False, workspace_id=None if number % 7 == 3 else HOME)
        for play in IN_PLAY.values():
            for row in world.find(play.kind).values():
                for name in row.keys() - COLUMNS:
                    del row[name]

    # -- what was true ---------------------------------------------------------------------------------------------

    def state(self, kind: str, row_id: str, moment: int) -> State | None:
        """Return the version after a change; None if the row did not exist."""
        found = None
        for when, state in self._timeline[kind, row_id]:
            if when > moment:
                break
            found = state
        return found

    def states(self, kind: str, row_id: str, since: int, until: int) -> list[State | None]:
        """Return the version at a moment, and the later ones until another moment."""
        during = [state for when, state in self._timeline[kind, row_id] if since < when <= until]
        return [self.state(kind, row_id, since), *during]

    def ever(self, kind: str, row_id: str) -> list[State | None]:
        """Return all versions of a row in order, without consecutive repetitions."""
        found: list[State | None] = []
        for _, state in self._timeline[kind, row_id]:
            if not found or found[-1] != state:
                found.append(state)
        return found

    def ids(self, kind: str) -> Iterator[str]:
        """Yield the ids of all rows that ever existed."""
        return (row_id for of, row_id in list(self._timeline) if of == kind)

    def blind(self, table: str, since: int) -> bool:
        """Return whether there was a change since then that a read of changes cannot be expected to detect."""
        signs = {sign for when, sign in self._counted[table] if when > since}
        # An insert and a deletion together keep the count.
        return len(signs) > 1 or any(when > since for when in self._blind[table])

    def miscounted(self, table: str, since: int) -> bool:
        """Return whether there was a change since then that only a correct count can reveal."""
        return any(when > since for when, _ in self._counted[table])

    def hide(self, table: str) -> None:
        """Record a change that only a full read can be expected to detect."""
        self._blind[table].append(self._tick())

    def unbalance(self, table: str, sign: int) -> None:
        """Record that OrgX has one row more (1) or less (-1) than the warehouse, and no timestamp shows it."""
        self._counted[table].append((self._tick(), sign))

    def _tick(self) -> int:
        self.now += 1
        return self.now

    def _note(self, kind: str, row_id: str) -> None:
        row = self.world.get(kind, row_id)
        state = None
        if row is not None:
            stamp = row.get("updated_at") or row.get("created_at") if kind in STAMPED else None
            value = f"{row[IN_PLAY[TABLES_OF[kind]].column]} ({row.get('status')})"
            state = value, stamp and datetime.fromisoformat(stamp)
        self._timeline[kind, row_id].append((self._tick(), state))

    # -- what happens ----------------------------------------------------------------------------------------------

    def change(self, change: Change) -> None:
        """Apply a change."""
        with self.world.lock:
            self.world.now += timedelta(seconds=change.pause)
            ids = list(self.world.find(change.kind))
            row_id = ids[change.number % len(ids)] if ids else None
            getattr(self, f"_{change.what}")(change, row_id)

    def _insert_row(self, kind: str, **fields: Any) -> None:
        row = self.world.insert(kind, **fields)
        self._gone[kind].pop(row["id"], None)
        self._note(kind, row["id"])

    def _edit_row(self, kind: str, row_id: str, *, touch: bool = True, **fields: Any) -> None:
        self.world.edit(kind, row_id, touch=touch, **fields)
        self._note(kind, row_id)

    def _fields(self, change: Change) -> dict[str, Any]:
        column = IN_PLAY[TABLES_OF[change.kind]].column
        return {column: change.value, "status": "todo", "workspace_id": HOME if change.number % 5 else None}

    def _edit(self, change: Change, row_id: str | None) -> None:
        if change.kind == "activity":
            self._insert(change, row_id)
        elif row_id is not None:
            self._edit_row(change.kind, row_id, **{IN_PLAY[TABLES_OF[change.kind]].column: change.value})

    def _insert(self, change: Change, row_id: str | None) -> None:
        if change.kind == "activity":
            self._event(change, timedelta(0))
        elif change.kind != "agent":
            self._insert_row(change.kind, **self._fields(change))

    def _event(self, change: Change, late: timedelta) -> None:
        stamp = _iso(self.world.now - late)
        self._insert_row("activity", type="run_started", title=change.value, timestamp=stamp)

    def _delete(self, change: Change, row_id: str | None) -> None:
        if row_id is None or change.kind == "activity":
            return
        self._gone[change.kind][row_id] = self.world.get(change.kind, row_id) or {}
        self.world.delete(change.kind, row_id)
        self._note(change.kind, row_id)
        self.unbalance(TABLES_OF[change.kind], -1)

    def _mass(self, change: Change, row_id: str | None) -> None:
        """Delete half or a third of the rows."""
        for found in list(self.world.find(change.kind))[:: 2 + change.number % 2]:
            self._delete(change, found)

    def _return(self, change: Change, row_id: str | None) -> None:
        gone = self._gone[change.kind]
        if not gone:
            return
        row = gone.pop(list(gone)[change.number % len(gone)])
        if change.kind in STAMPED:
            row["updated_at"] = _iso(self.world.now)
        self._insert_row(change.kind, **row)

    def _wait(self, change: Change, row_id: str | None) -> None:
        self.world.now += timedelta(minutes=change.number)

    def _silent(self, change: Change, row_id: str | None) -> None:
        """Change a row without changing its timestamp."""
        if row_id is not None and change.kind != "activity":
            self._edit_row(change.kind, row_id, touch=False, **{IN_PLAY[TABLES_OF[change.kind]].column: change.value})
            if change.kind in STAMPED:
                self.hide(TABLES_OF[change.kind])

    def _late(self, change: Change, row_id: str | None) -> None:
        """Add a row with a time in the past: older than the cursor."""
        if change.kind == "activity":
            hours = (0.2, 3, 20, 240)[change.number % 4]
            self._event(change, timedelta(hours=hours))
            if hours > 20:
                self.hide("activity")
        elif change.kind in STAMPED and row_id is not None:
            old = self.world.find(change.kind)[row_id]
            stamps = {name: old.get(name) for name in ("created_at", "updated_at")}
            self._insert_row(change.kind, **self._fields(change), **stamps)
            self.unbalance(TABLES_OF[change.kind], 1)

    def _cancel(self, change: Change, row_id: str | None) -> None:
        """Add a row late and delete another: the count stays the same."""
        self._late(change, row_id)
        self._delete(change, row_id)

    def _rewind(self, change: Change, row_id: str | None) -> None:
        """Restore an older version of a row, with its older time, like a restored backup."""
        if change.kind in STAMPED and row_id is not None:
            earlier = [s for s in self.ever(change.kind, row_id) if s is not None]
            value, stamp = earlier[change.number % len(earlier)]
            value = value.rpartition(" (")[0]
            column = IN_PLAY[TABLES_OF[change.kind]].column
            updated = None if stamp is None else _iso(stamp)
            self._edit_row(change.kind, row_id, touch=False, **{column: value, "updated_at": updated})
            self.hide(TABLES_OF[change.kind])

    def _future(self, change: Change, row_id: str | None) -> None:
        """Add or change a row whose time is tomorrow."""
        if change.kind in STAMPED:
            stamp = _iso(self.world.now + timedelta(hours=1 + change.number))
            if change.number % 2 and row_id is not None:
                column = IN_PLAY[TABLES_OF[change.kind]].column
                self._edit_row(change.kind, row_id, touch=False, **{column: change.value, "updated_at": stamp})
            else:
                self._insert_row(change.kind, **self._fields(change), created_at=stamp, updated_at=stamp)

    def _unstamped(self, change: Change, row_id: str | None) -> None:
        """Add a row without a time, or remove the time of one."""
        if change.kind not in STAMPED:
            return
        table = TABLES_OF[change.kind]
        if change.number % 2 and row_id is not None:
            column = IN_PLAY[table].column
            self._edit_row(change.kind, row_id, touch=False, **{column: change.value, "updated_at": None})
            self.hide(table)
        else:
            self._insert_row(change.kind, **self._fields(change), created_at=None, updated_at=None)
            self.unbalance(table, 1)

    def _move(self, change: Change, row_id: str | None) -> None:
        """Move a row to another workspace, or to none."""
        if change.kind in STAMPED and row_id is not None:
            self._edit_row(change.kind, row_id, workspace_id=(FIELD, HOME, None)[change.number % 3])

    def _field(self, change: Change, row_id: str | None) -> None:
        """Send an undeclared field, with values of several types."""
        if row_id is not None and change.kind != "activity":
            note = (1, 0, 0.5, "text", None, {"a": 1}, True)[change.number % 7]
            self._edit_row(change.kind, row_id, note=note)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
