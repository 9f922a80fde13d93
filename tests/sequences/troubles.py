"""Everything that can be wrong in one run, by name: with the server, key, clocks, machine or analysts.

Each kind is in `KINDS`, so that it can be searched alone (``ORGX_KINDS="lag,analyst"``). Its honesty states what it
means for the claims of a run.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st

from orgx_source.sandbox import Fault
from tests.sequences.organisation import FIELD, HOME, IN_PLAY, Change
from tests.sequences.warehouse import connected, lose_folder

if TYPE_CHECKING:
    from tests.sequences.machine import Life


class Honesty(Enum):
    """How far a server's responses can be trusted during one run."""

    LIES = 0
    """Existing rows are missing, or shown in older versions."""
    BLIND = 1
    """Every row received is correct and all are available, but counts are wrong."""
    HONEST = 2
    """Correct, however inconvenient."""

    def __repr__(self) -> str:
        return str(self)


class KilledError(BaseException):
    """Ends a run at any point, like SIGKILL."""


@dataclass
class Plan:
    """The circumstances of one run.

    Attributes:
        settings: Settings for the configuration.
        tables: Tables to read; None for all in use.
        pages: Pages per stretch; None for the default.
        faults: Faults of the server.
        honesty: Honesty of the server.
        during: Number of a request to the change in OrgX before its response.
        kill: Kind of moment ("request", "write") and its number.
        failing: What the destination refuses ("load" or "commit"), and at which attempt.
        tampering: What the first merge into a "table" or "history" also does: "lose", "double" or "swap".
        key: Name of the key; None for the key that can see everything.
        skew_minutes: Minutes by which this machine's clock is fast.
        may_fail: Whether exit code 1 is acceptable.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    tables: list[str] | None = None
    pages: int | None = None
    faults: list[Fault] = field(default_factory=list)
    honesty: Honesty = Honesty.HONEST
    during: dict[int, list[Change]] = field(default_factory=dict)
    kill: tuple[str, int] | None = None
    failing: tuple[str, int] | None = None
    tampering: tuple[str, str] | None = None
    key: str | None = None
    skew_minutes: float = 0
    may_fail: bool = False

    @property
    def omits_without_ids(self) -> bool:
        """Whether the server leaves rows out of its lists, and does not answer for single rows either."""
        kinds = {fault.kind if fault.kind != "refuse" else f"refuse {fault.value}" for fault in self.faults}
        return "hidden" in kinds and not kinds.isdisjoint({"ignore_ids", "refuse ids"})


class Trouble(ABC):
    """One problem of a run; applied right before it.

    Attributes:
        changes_warehouse: Whether it may replace the warehouse.
    """

    changes_warehouse = False

    @abstractmethod
    def apply(self, life: Life, plan: Plan) -> None:
        """Apply the problem."""


# -- the run itself ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting(Trouble):
    """A setting of the run."""

    name: str
    value: Any

    def apply(self, life: Life, plan: Plan) -> None:
        plan.settings[self.name] = self.value


@dataclass(frozen=True)
class Only(Trouble):
    """Only some tables are read."""

    tables: tuple[str, ...]

    def apply(self, life: Life, plan: Plan) -> None:
        plan.tables = list(self.tables)


@dataclass(frozen=True)
class Stretches(Trouble):
    """Stretches have few pages."""

    pages: int

    def apply(self, life: Life, plan: Plan) -> None:
        plan.pages = self.pages


@dataclass(frozen=True)
class Moves(Trouble):
    """OrgX changes while it is read."""

    during: tuple[tuple[int, tuple[Change, ...]], ...]

    def apply(self, life: Life, plan: Plan) -> None:
        plan.during = {number: list(steps) for number, steps in self.during}


@dataclass(frozen=True)
class Kill(Trouble):
    """The run is killed at a request, or before or after a write."""

    where: str
    number: int

    def apply(self, life: Life, plan: Plan) -> None:
        plan.kill = self.where, self.number


@dataclass(frozen=True)
class Failing(Trouble):
    """The destination fails once: at a commit, or at the end of a load."""

    what: str
    number: int

    def apply(self, life: Life, plan: Plan) -> None:
        plan.failing, plan.may_fail = (self.what, self.number), True


@dataclass(frozen=True)
class Tampering(Trouble):
    """The destination silently loses a row of a load, duplicates one, or both ("swap"); or a version in history."""

    what: str
    place: str = "table"

    def apply(self, life: Life, plan: Plan) -> None:
        plan.tampering, plan.may_fail = (self.what, self.place), True


@dataclass(frozen=True)
class Clock(Trouble):
    """This machine's clock is wrong for one run."""

    minutes: float

    def apply(self, life: Life, plan: Plan) -> None:
        plan.skew_minutes = self.minutes


# -- the server --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Served(Trouble):
    """The server has faults."""

    faults: tuple[Fault, ...]
    honesty: Honesty = Honesty.HONEST

    def apply(self, life: Life, plan: Plan) -> None:
        plan.faults += self.faults
        plan.honesty = min(plan.honesty, self.honesty, key=lambda honesty: honesty.value)
        lasting = {"status", "status_html", "closed", "ignore_offset", "refuse", "missing_id", "clamp"}
        plan.may_fail |= any(fault.kind in lasting and fault.times is None for fault in self.faults)


@dataclass(frozen=True)
class Mixed(Trouble):
    """Requests of a run reach different replicas, some of which lag by this many seconds."""

    seconds: tuple[float, ...]

    def apply(self, life: Life, plan: Plan) -> None:
        plan.faults.append(Fault("stale", lambda number: self.seconds[number % len(self.seconds)]))
        plan.honesty = Honesty.LIES


@dataclass(frozen=True)
class Key(Trouble):
    """Another key is used: "narrow" sees one row in seven, "field" only the other workspace."""

    name: str

    def apply(self, life: Life, plan: Plan) -> None:
        plan.key = self.name


# -- between the runs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewMachine(Trouble):
    """dlt's working folder is lost."""

    def apply(self, life: Life, plan: Plan) -> None:
        lose_folder()


@dataclass(frozen=True)
class Copied(Trouble):
    """Warehouse and working folder are backed up."""

    def apply(self, life: Life, plan: Plan) -> None:
        life.keep_copies()


@dataclass(frozen=True)
class Restored(Trouble):
    """The older backup of the "file", the "folder" or "both" is restored."""

    changes_warehouse = True
    what: str

    def apply(self, life: Life, plan: Plan) -> None:
        life.restore(self.what)


@dataclass(frozen=True)
class Analyst(Trouble):
    """An analyst changes the warehouse by hand."""

    changes_warehouse = True
    what: str
    table: str
    number: int

    def apply(self, life: Life, plan: Plan) -> None:
        plan.may_fail = True
        place = self.table.removesuffix("_history")
        found = life.before.history if place != self.table else life.before.rows
        ids = sorted({row.id for row in found[place]})
        if not ids:
            return
        chosen = ids[self.number % len(ids) :: 3][: 1 + self.number % 4]
        listed = ", ".join(f"'{row_id}'" for row_id in chosen)
        column = IN_PLAY[place].column
        name = f"orgx.{self.table}"
        sql = {
            "drop table": f"drop table {name} cascade",
            "drop column": f"alter table {name} drop column {(column, 'status', 'updated_at')[self.number % 3]}",
            "add column": f"alter table {name} add column note {('integer', 'text')[self.number % 2]}",
            "double": f"insert into {name} select * from {name} where id in ({listed})",
            "delete": f"delete from {name} where id in ({listed})",
            "edit": f"update {name} set {column} = 'by hand' where id in ({listed})",
            "index": f"create index analyst_{self.number} on {name} ({column})",
        }[self.what]
        try:
            with connected() as ask:
                ask(sql)
        except Exception:
            # Refused by the database, so nothing changed.
            return
        life.edited_by_hand(self.what, place, chosen, history=place != self.table)


# -- the table of kinds ------------------------------------------------------------------------------------------------

VALUES = ("red", "green", "blue")
ANY_KIND = ("task", "task", "task", "initiative", "agent", "activity")
OFTEN = ("edit", "edit", "insert", "delete", "return", "wait")
SECONDS = (3.0, 30.0, 300.0, 1800.0, 5700.0)


def changes(*what: str) -> st.SearchStrategy[Change]:
    """Return the possible changes in OrgX, of these sorts."""
    return st.builds(
        Change,
        st.sampled_from(what),
        st.sampled_from(ANY_KIND),
        st.integers(0, 99),
        st.sampled_from(VALUES),
        st.sampled_from([0, 0, 2, 45, 400]),
    )


@dataclass(frozen=True)
class Kind:
    """One kind of trouble.

    Attributes:
        troubles: Its effects on a run; None if it only changes OrgX.
        changes: Changes in OrgX that it adds.
        passes: Whether the code is known to handle it; otherwise it is searched only if named.
        copies_files: Whether it needs a warehouse that is a file.
    """

    troubles: Callable[[], st.SearchStrategy[Trouble]] | None = None
    changes: tuple[str, ...] = ()
    passes: bool = True
    copies_files: bool = False


def served(*faults: Fault, honesty: Honesty = Honesty.HONEST) -> Callable[[], st.SearchStrategy[Trouble]]:
    return lambda: st.sampled_from([Served((fault,), honesty) for fault in faults])


def _by_chance(kind: str, value: Any = None, honesty: Honesty = Honesty.HONEST) -> st.SearchStrategy[Trouble]:
    """Return a fault that applies to some requests and not to others."""

    def make(numbers: set[int]) -> Served:
        return Served(tuple(Fault(kind, value, after=number, times=1) for number in sorted(numbers)), honesty)

    return st.builds(make, st.sets(st.integers(0, 20), min_size=1, max_size=8))


def _moves() -> st.SearchStrategy[Trouble]:
    steps = st.lists(any_change(), min_size=1, max_size=3).map(tuple)
    moments = st.dictionaries(st.integers(1, 20), steps, min_size=1, max_size=3)
    return st.builds(lambda found: Moves(tuple(sorted(found.items()))), moments)


ERRORS = (
    Fault("status", 500, times=2), Fault("status", 500, after=3), Fault("status", 500, entity="task", after=1),
    Fault("status_html", 502, times=1), Fault("reset", times=2), Fault("cut_body", after=2, times=2),
    Fault("truncated", times=1), Fault("rate_limited", 2, after=2, times=2), Fault("closed", 403, entity="task"),
)  # fmt: skip
MANNERS = (
    Fault("duplicate_row"), Fault("page_total"), Fault("last_page"), Fault("clamp", 3), Fault("ignore_fields"),
    Fault("ignore_offset", entity="task"), Fault("no_has_more"), Fault("no_echo"),
)  # fmt: skip
OMISSIONS = (
    Fault("hidden"), Fault("hidden", entity="task"), Fault("empty", after=2), Fault("empty", entity="initiative"),
    Fault("missing_id", entity="task"),
)  # fmt: skip
YEARS = 365 * 24 * 60.0

KINDS: dict[str, Kind] = {
    "moves": Kind(_moves),
    "errors": Kind(served(*ERRORS)),
    "manners": Kind(served(*MANNERS)),
    "order": Kind(served(Fault("ignore_order"), Fault("ignore_order", entity="task"))),
    "order by chance": Kind(lambda: _by_chance("ignore_order"), passes=False),
    "totals": Kind(
        served(Fault("no_total"), Fault("no_total", entity="task"), Fault("no_total", after=3)), passes=False
    ),
    "wrong totals": Kind(
        lambda: st.builds(
            lambda off, entity: Served((Fault("wrong_total", off, entity=entity),), Honesty.BLIND),
            st.sampled_from([-20, -3, -1, 1, 3, 20]),
            st.sampled_from([None, "task"]),
        )
    ),
    "ignored ids": Kind(served(Fault("ignore_ids"))),
    "ignored filters": Kind(served(Fault("ignore_since"), Fault("ignore_workspace")), passes=False),
    "refused": Kind(
        served(*(Fault("refuse", name) for name in ("ids", "order_by", "fields", "since", "workspace_id")))
    ),
    "omissions": Kind(served(*OMISSIONS, honesty=Honesty.LIES)),
    "omissions by chance": Kind(lambda: _by_chance("hidden", honesty=Honesty.LIES), passes=False),
    "lag": Kind(
        lambda: st.builds(lambda s: Served((Fault("stale", s),), Honesty.LIES), st.sampled_from(SECONDS)), passes=False
    ),
    "mixed lag": Kind(
        lambda: st.builds(Mixed, st.lists(st.sampled_from((0.0, 0.0, *SECONDS)), min_size=2, max_size=5).map(tuple)),
        passes=False,
    ),
    "cached pages": Kind(
        lambda: st.sampled_from(SECONDS).flatmap(lambda s: _by_chance("stale", s, Honesty.LIES)), passes=False
    ),
    "cached counts": Kind(
        lambda: st.builds(lambda s: Served((Fault("stale_total", s),), Honesty.BLIND), st.sampled_from(SECONDS)),
        passes=False,
    ),
    "their clock": Kind(
        served(Fault("no_date"), *(Fault("date_off", seconds) for seconds in (-60, 60, -5400, 5400, -3e6, 3e6))),
        passes=False,
    ),
    "clock": Kind(lambda: st.builds(Clock, st.sampled_from([-90.0, -1.0, 1.0, 90.0]))),
    "wild clock": Kind(
        lambda: st.builds(Clock, st.sampled_from([-26 * YEARS, -YEARS, YEARS, 73 * YEARS])), passes=False
    ),
    "full": Kind(lambda: st.just(Setting("full", True))),
    "budget": Kind(lambda: st.builds(Setting, st.just("max_requests"), st.sampled_from([2, 5, 9]))),
    "stretches": Kind(lambda: st.builds(Stretches, st.sampled_from([1, 2]))),
    "single tables": Kind(
        lambda: st.builds(Only, st.sampled_from([("tasks",), ("initiatives", "agents"), ("activity",)]))
    ),
    "routes": Kind(
        lambda: st.just(Setting("routes", {"tasks": "/api/v1/work", "initiatives": "/api/client/live/initiatives"})),
        passes=False,
    ),
    "workspace": Kind(
        lambda: st.builds(Setting, st.just("workspace_id"), st.sampled_from([HOME, FIELD])), passes=False
    ),
    "keys": Kind(lambda: st.builds(Key, st.sampled_from(["narrow", "field"])), passes=False),
    "killed at a request": Kind(lambda: st.builds(Kill, st.just("request"), st.integers(1, 25))),
    "killed at a write": Kind(lambda: st.builds(Kill, st.just("write"), st.integers(1, 40))),
    "failing load": Kind(lambda: st.builds(Failing, st.just("load"), st.integers(1, 2))),
    "failing commit": Kind(lambda: st.builds(Failing, st.just("commit"), st.integers(1, 12)), passes=False),
    "tampering": Kind(
        lambda: st.builds(
            Tampering, st.sampled_from(["lose", "double", "swap", "swap"]), st.sampled_from(["table", "history"])
        ),
        passes=False,
    ),
    "machine": Kind(lambda: st.just(NewMachine())),
    "backups": Kind(
        lambda: st.sampled_from([Copied(), Restored("file"), Restored("folder"), Restored("both")]), copies_files=True
    ),
    "analyst": Kind(
        lambda: st.builds(
            Analyst,
            st.sampled_from(["drop table", "drop column", "add column", "double", "delete", "edit", "index"]),
            st.sampled_from(["tasks", "tasks", "initiatives", "agents", "activity"]),
            st.integers(0, 99),
        ),
        passes=False,
    ),
    "analyst of history": Kind(
        lambda: st.builds(
            Analyst,
            st.sampled_from(["drop table", "double", "add column", "index"]),
            st.sampled_from(["tasks_history", "initiatives_history", "agents_history"]),
            st.integers(0, 99),
        ),
        passes=False,
    ),
    # No trouble but a claim: a good full read each week.
    "weekly reads": Kind(passes=False),
    "silent": Kind(changes=("silent",)),
    "late": Kind(changes=("late",)),
    "cancel": Kind(changes=("cancel",)),
    "mass": Kind(changes=("mass",), passes=False),
    "rewind": Kind(changes=("rewind",), passes=False),
    "future": Kind(changes=("future",), passes=False),
    "unstamped": Kind(changes=("unstamped",)),
    "workspaces": Kind(changes=("move",), passes=False),
    "fields": Kind(changes=("field",), passes=False),
}


def enabled() -> dict[str, Kind]:
    """Return the kinds to search: those in ``ORGX_KINDS``, by default all that the code handles.

    Raises:
        ValueError: A kind is unknown.
    """
    names = os.environ.get("ORGX_KINDS", "")
    if not names:
        return {name: kind for name, kind in KINDS.items() if kind.passes}
    chosen = list(KINDS) if names == "all" else [name.strip() for name in names.split(",")]
    if unknown := set(chosen) - KINDS.keys():
        raise ValueError(f"unknown kinds {unknown}; known kinds: {', '.join(KINDS)}")
    return {name: KINDS[name] for name in chosen}


def any_change() -> st.SearchStrategy[Change]:
    """Return the possible changes in OrgX."""
    return changes(*OFTEN, *(what for kind in enabled().values() for what in kind.changes))


def any_troubles(*, files: bool) -> st.SearchStrategy[list[Trouble]]:
    """Return up to three troubles of a run, of different kinds; about every third run has none.

    Args:
        files: Whether the warehouse is a file that can be copied.
    """
    makers = [kind.troubles for kind in enabled().values() if kind.troubles and (files or not kind.copies_files)]
    if not makers:
        return st.just([])
    count = st.sampled_from([0, 1, 1, 2, 3])
    numbers = count.flatmap(
        lambda size: st.permutations(range(len(makers))).map(lambda order: order[: min(size, len(makers))])
    )
    return numbers.flatmap(lambda found: st.tuples(*(makers[number]() for number in found)).map(list))
