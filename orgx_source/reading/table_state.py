"""The state of a table between runs, in dlt's state: how far it was read, and when that can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orgx_source.api.listing import Position
from orgx_source.reading.doubts import Doubt
from orgx_source.reading.scope import Look, Looks
from orgx_source.times import parse_timestamp
from orgx_source.warehouse.arrival import forget_handed, handed_in

STATE_VERSION = 2
# A stored time further in the future than this is not trusted.
MAX_AHEAD = timedelta(days=1)
MAX_ANCESTRY = 20
MAX_OLDER = 1_000
# Maximum number of ids kept of each of two routes without ids in common.
MAX_SIDE = 100


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows were read from; the state of one origin says nothing about another.

    Attributes:
        route: Name of the route.
        workspace_id: The requested workspace, else the one that the key resolves to.
        filtered: Whether it was requested.
        key: Digest of the key: another one may see other rows.
    """

    route: str
    workspace_id: str
    filtered: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    """Where an interrupted full read continues.

    Attributes:
        position: Its position.
        started: Its start by OrgX's clock; changes since are read afterwards.
        began_at: Its start by this machine's clock.
        candidates: Ids that it should have met but did not.
    """

    position: Position
    started: datetime
    began_at: datetime
    candidates: frozenset[str]


# A route that refused a key is tried again after this time.
CLOSED_FOR = timedelta(days=7)


def _position(saved: Mapping[str, Any]) -> Position:
    """Return a place that was noted; earlier versions noted only those in lists to which new rows come last."""
    return Position(
        int(saved["offset"]),
        float(saved["covered_to"]),
        tied=bool(saved.get("tied")),
        head=saved.get("head"),
        workspace=saved.get("list_of"),
        met=tuple(saved.get("met") or ()),
    )


def _is_recent(moment: str, now: datetime) -> bool:
    asked = parse_timestamp(moment)
    return asked is not None and timedelta(0) <= now - asked < CLOSED_FOR


class TableState:
    """A view of dlt's state dictionary for one resource; changes it in place."""

    def __init__(
        self,
        stored: dict[str, Any],
        load_id: str,
        has_loads: Callable[[Sequence[str]], bool],
        now: datetime | None = None,
    ) -> None:
        """Read the stored state.

        Args:
            stored: dlt's dictionary.
            load_id: The load that stores the new state.
            has_loads: Returns whether all loads with given ids are complete: one may have failed, or the warehouse may
                be a different one or an older copy.
            now: The time; stored times more than a day later are not trusted. None trusts everything.
        """
        self._stored = stored
        self._load_id = load_id
        self._has_loads = has_loads
        self._latest = None if now is None else now + MAX_AHEAD

    @property
    def cursor(self) -> datetime | None:
        """Return the time up to which every change is known."""
        return self._time("cursor")

    @property
    def read_at(self) -> datetime | None:
        """Return the start of the last completed read, by this machine's clock."""
        return self._time("read_at")

    @property
    def whole_read_at(self) -> datetime | None:
        """Return the start of the last full read."""
        return self._time("whole_read_at")

    @property
    def looked_back_at(self) -> datetime | None:
        """Return when a feed was last read one month back."""
        return self._time("looked_back_at")

    def _time(self, name: str) -> datetime | None:
        """Return a stored time; None if a wrong clock stored it."""
        moment = parse_timestamp(self._stored.get(name))
        if moment is not None and self._latest is not None and moment > self._latest:  # guard: clock-of-the-future
            return None
        return moment

    @property
    def was_cut_short(self) -> bool:
        """Return whether a long read of changes was interrupted."""
        return bool(self._stored.get("cut_short"))

    def first_workspace(self, otherwise: str) -> str:
        """Return the workspace of the key that filled the table first."""
        return str(self._stored.get("home", otherwise))

    def is_of(self, origin: Origin) -> bool:
        """Return whether the state is about this origin, and its rows were stored."""
        return self._is_of(self._stored, origin)

    def resume(self, origin: Origin, *, full: bool) -> Resume | None:
        """Return where an interrupted full read continues, if there is one.

        Args:
            origin: The current origin.
            full: Whether a full read was requested; then only a read that was also requested in full is continued.
        """
        saved = self._stored.get("resume") or {}
        started, began_at = parse_timestamp(saved.get("started")), parse_timestamp(saved.get("began_at"))
        if started is None or began_at is None or not self._is_of(saved, origin) or (full and not saved.get("full")):
            return None
        return Resume(_position(saved), started, began_at, frozenset(saved.get("candidates") or ()))

    def keep_place(self, place: Resume, origin: Origin, *, full: bool) -> None:
        """Record where an interrupted full read continues."""
        self._stored["resume"] = {
            "offset": place.position.offset,
            "covered_to": place.position.covered_to,
            "tied": place.position.tied,
            "head": place.position.head,
            "list_of": place.position.workspace,
            "met": list(place.position.met),
            "candidates": sorted(place.candidates),
            "started": place.started.isoformat(),
            "began_at": place.began_at.isoformat(),
            "full": full,
            **self._provenance(origin, whole=True),
        }

    def cut_short(self, *, long: bool) -> None:
        """Record that a read of changes was interrupted.

        Args:
            long: Whether it was a long one; short ones count if it happens twice.
        """
        if long or self._stored.get("cut_once"):
            self._stored["cut_short"] = True
        self._stored["cut_once"] = True

    def begin_anew(self) -> None:
        """Record that a full read starts from the beginning, without a position."""
        self._stored.pop("resume", None)

    def orders(self, route: str) -> bool:
        """Return whether a route kept the requested order, according to the last evidence."""
        return self._stored.get("disordered") != route

    def note_order(self, route: str, obeyed: bool | None) -> None:
        """Record whether a route kept the requested order; None if there was no evidence."""
        if obeyed is not None and (not obeyed or not self.orders(route)):
            self._keep("disordered", None if obeyed else route)

    def settle(
        self, origin: Origin, *, cursor: datetime | None, whole_at: datetime | None, first_workspace: str
    ) -> None:
        """Record that everything up to the cursor is known."""
        if cursor is not None:
            self._stored["cursor"] = cursor.isoformat()
        if whole_at is not None:
            self._stored["whole_read_at"] = whole_at.isoformat()
        self._stored.update(self._provenance(origin, whole=whole_at is not None))
        for name in ("resume", "cut_short", "cut_once"):
            self._stored.pop(name, None)
        self._stored.setdefault("home", first_workspace)

    def take_handed(self) -> tuple[str, dict[str, dict[str, Any]]]:
        """Return and remove the content of the last load, with its id, if that load was not verified."""
        handed = handed_in(self._stored)
        forget_handed(self._stored)
        return str(self._stored.get("load_id")), handed

    def forget_origin(self) -> None:
        """Discard the origin, so that its state is not trusted."""
        self._stored.pop("version", None)

    def finish(self, read_at: datetime) -> None:
        """Record the start of a completed read."""
        self._stored["read_at"] = read_at.isoformat()

    def note_look_back(self, moment: datetime) -> None:
        """Record that a feed was read one month back."""
        self._stored["looked_back_at"] = moment.isoformat()

    @property
    def left_gap(self) -> bool:
        """Return whether the last full read of a feed did not reach its oldest events."""
        return bool(self._stored.get("left_gap"))

    @left_gap.setter
    def left_gap(self, gap: bool) -> None:
        self._keep("left_gap", gap)

    def closed_doors(self, key: str, now: datetime) -> dict[str, str]:
        """Return the routes that recently refused this key and can be skipped, name to status.

        Args:
            key: Digest of the key.
            now: The time.
        """
        return {name: door["status"] for name, door in self._doors(key).items() if _is_recent(door["asked_at"], now)}

    def closed_since(self, key: str) -> str | None:
        """Return since when no route has been open to this key; None if one is."""
        return min((door["since"] for door in self._doors(key).values()), default=None)

    def note_doors(self, closed: Mapping[str, str], key: str, now: datetime) -> None:
        """Record which routes refuse this key.

        Args:
            closed: Name of each to its status.
            key: Digest of the key.
            now: The time.
        """
        before, moment = self._doors(key), now.isoformat()
        doors = {name: {"status": status, "since": moment, "asked_at": moment} for name, status in closed.items()}
        for name, door in doors.items():
            if name in before:
                door["since"] = before[name]["since"]
                if _is_recent(before[name]["asked_at"], now):
                    # It was skipped.
                    door["asked_at"] = before[name]["asked_at"]
        self._keep("closed_doors", {"key": key, "doors": doors} if doors else None)

    def _doors(self, key: str) -> dict[str, dict[str, str]]:
        stored = self._stored.get("closed_doors") or {}
        return dict(stored["doors"]) if stored.get("key") == key else {}

    @property
    def doors_apart(self) -> bool:
        """Return whether rows come from routes without ids in common."""
        return bool(self._stored.get("doors_apart"))

    def note_doors_apart(self, *sides: Sequence[str]) -> None:
        """Record that two routes showed no ids in common.

        Args:
            sides: The ids from each of them, of which some are kept.
        """
        self._keep("doors_apart", [ids[:: len(ids) // MAX_SIDE + 1] for ids in sides])

    def doors_meet(self, was_met: Callable[[str], bool]) -> bool:
        """Return whether one read met ids of both sides, which are then one kind of id; and record it.

        Args:
            was_met: Returns whether the read met an id.
        """
        sides = self._stored.get("doors_apart")
        # Earlier versions kept no ids.
        if not isinstance(sides, list) or not all(any(map(was_met, ids)) for ids in sides):
            return False
        self._keep("doors_apart", None)
        return True

    @property
    def route(self) -> str | None:
        """Return the route of the last read."""
        return self._stored.get("route")

    @property
    def doubt(self) -> Doubt | None:
        """Return the doubt about rows missing from the last full read."""
        stored = self._stored.get("doubt")
        return Doubt.from_json(stored) if stored else None

    @doubt.setter
    def doubt(self, doubt: Doubt | None) -> None:
        self._keep("doubt", doubt.to_json() if doubt else None)
        # Format of earlier versions.
        self._stored.pop("vanished", None)

    @property
    def older(self) -> dict[str, str]:
        """Return the rows received in a version older than the stored one and not accepted, id to hash.

        If there are many, it is a sample of them.
        """
        return dict(self._stored.get("older") or {})

    @older.setter
    def older(self, rows: Mapping[str, str]) -> None:
        kept = dict(sorted(rows.items())[:: max(1, -(-len(rows) // MAX_OLDER))])
        self._keep("older", kept)
        self._keep("older_unlisted", len(rows) - len(kept))

    @property
    def older_unlisted(self) -> int:
        """Return how many such rows are not in the sample."""
        return int(self._stored.get("older_unlisted") or 0)

    @property
    def looks(self) -> Looks:
        """Return which keys and filters last saw the rows."""
        last = {name: Look.parse(text) for name, text in (self._stored.get("seen_by") or {}).items()}
        aside = self._stored.get("set_aside") or {}
        if isinstance(aside, int):
            return Looks(last, more=aside)
        return Looks(last, {row_id: Look.parse(text) for text, ids in aside.items() for row_id in ids})

    @looks.setter
    def looks(self, looks: Looks) -> None:
        self._stored["seen_by"] = {name: str(look) for name, look in sorted(looks.last.items())}
        aside: dict[str, list[str]] = {}
        for row_id, look in sorted(looks.aside.items()):
            aside.setdefault(str(look), []).append(row_id)
        self._keep("set_aside", looks.more or aside)

    @property
    def obeys_filter(self) -> bool:
        """Return whether OrgX obeyed the workspace filter in the last read of this origin."""
        return not self._stored.get("filter_ignored")

    @obeys_filter.setter
    def obeys_filter(self, obeyed: bool) -> None:
        self._keep("filter_ignored", not obeyed)

    def ids_home(self, otherwise: str) -> str:
        """Return the workspace whose ids are unchanged, for ids that are unique within a workspace only."""
        return str(self._stored.get("ids_home") or self._stored.get("workspace_id") or otherwise)

    def keep_ids_home(self, workspace: str) -> None:
        """Record the workspace whose ids are unchanged."""
        self._stored["ids_home"] = workspace

    def _keep(self, name: str, value: Any) -> None:
        if value:
            self._stored[name] = value
        else:
            self._stored.pop(name, None)

    def _provenance(self, origin: Origin, *, whole: bool) -> dict[str, Any]:
        return {
            "version": STATE_VERSION,
            "route": origin.route,
            "workspace_id": origin.workspace_id,
            "filtered": origin.filtered,
            "key": origin.key,
            "load_id": self._load_id,
            "builds_on": self._ancestry(whole=whole),
        }

    def _ancestry(self, *, whole: bool) -> list[str]:
        """Return the loads that the current state builds on.

        Loads are sequential, so an older copy of a warehouse lacks the latest of them: these are enough.
        """
        kept = () if whole else self._stored.get("builds_on") or ()
        of_this_read = (self._stored.get("resume") or {}).get("builds_on") or ()
        return list(dict.fromkeys([*kept, *of_this_read, self._load_id]))[-MAX_ANCESTRY:]

    def _is_of(self, saved: dict[str, Any], origin: Origin) -> bool:
        loads = [*(saved.get("builds_on") or ()), str(saved.get("load_id"))]  # guard: loads-that-arrived
        return (
            saved.get("version") == STATE_VERSION
            and saved.get("route") == origin.route
            and saved.get("workspace_id") == origin.workspace_id
            # Not stored by earlier versions.
            and saved.get("filtered", origin.filtered) == origin.filtered
            and saved.get("key", origin.key) == origin.key  # guard: changes-under-another-key
            and self._has_loads(loads)
        )
