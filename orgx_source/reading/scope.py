"""Which rows are this run's business: those of the workspaces that it sees, by the ids that the warehouse gives them.

Decides which rows of a full read may be called deleted at all. Whether they are believed to be is `deletions`'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from orgx_source.api.envelope import Row
from orgx_source.rows.known_rows import KnownRow, KnownRows
from orgx_source.tables import Table, is_id, spellings

# Ids of rows that only an earlier look saw, kept in the state; of more, only their number is kept.
MAX_SET_ASIDE = 5_000


def is_same_workspace(one: str, other: str) -> bool:
    """Return whether two ids name one workspace: a UUID is the same in capitals."""
    return one.casefold() == other.casefold()


def named_workspaces(table: Table, row: Row) -> list[str]:
    """Return the workspaces that a row names, as OrgX sent it, in order of preference."""
    return [value for key in spellings(*table.workspace) if isinstance(value := row.get(key), str) and value]


def rows_in_workspace(table: Table, rows: list[Row], workspace_id: str | None) -> list[Row]:
    """Return the rows of a workspace, and those that name none: OrgX's own filter is not always trusted.

    Args:
        table: The table.
        rows: Rows as OrgX sent them.
        workspace_id: The workspace asked for; None keeps all rows.
    """
    if workspace_id is None:
        return rows
    wanted, kept = workspace_id.casefold(), []
    for row in rows:
        named = {name.casefold() for name in named_workspaces(table, row)}
        if not named or wanted in named:
            kept.append(row)
    return kept


def comparable_total(total: int | None, foreign: int, *, whole: bool, obeyed: bool) -> int | None:
    """Return what OrgX counts of the workspace that was asked for; None where its count does not tell.

    Args:
        total: What it counts.
        foreign: How many rows of other workspaces came, though a workspace was asked for.
        whole: Whether every row was read.
        obeyed: Whether OrgX keeps to the workspace that is asked for, as far as is known.
    """
    if total is None or (obeyed and not foreign):
        return total
    return max(0, total - foreign) if whole else None


class Sight:
    """Knows which workspaces a run can see: the rows of others are none of its business."""

    def __init__(self, wanted: str | None, own: str, listed: Callable[[], set[str]]) -> None:
        """Begin with what is known without asking.

        Args:
            wanted: The one workspace that was asked for; None for all.
            own: The workspace that the key resolves to.
            listed: Asks OrgX for the workspaces that it lists; called once a row's workspace is not known otherwise.
        """
        self._wanted = wanted
        self._listed = listed
        self._seen = {own.casefold()}

    def note(self, workspaces: Iterable[str | None]) -> None:
        """Note the workspaces of rows that came."""
        self._seen.update(name.casefold() for name in set(workspaces) if name)

    @property
    def workspaces(self) -> set[str]:
        """Return the workspaces that are known to be seen, in small letters."""
        return self._seen if self._wanted is None else {self._wanted.casefold()}

    def sees(self, workspace: str | None) -> bool:
        """Return whether a row that names this workspace, or none, would have come if OrgX still listed it."""
        if self._wanted is not None:
            return workspace is not None and is_same_workspace(workspace, self._wanted)
        if workspace is None or workspace.casefold() in self._seen:
            return True
        self._seen.update(name.casefold() for name in self._listed())
        return workspace.casefold() in self._seen


def key_digest(api_key: str) -> str:
    """Return 16 hexadecimal digits that tell one key from another.

    Safe to store with the data: a digest cannot be turned back, a key is long and random so that none can be found by
    trying, and 64 bits of it fit to countless other texts.
    """
    return blake2b(api_key.encode(), digest_size=8, person=b"orgx-source-key").hexdigest()


@dataclass(frozen=True, slots=True)
class Look:
    """What decides which rows come in a full read.

    Attributes:
        key: Digest of the key; empty when it is not known.
        workspace: The workspace asked for, else the one that the key resolves to, in small letters; empty for rows that
            name theirs, and when it is not known.
        filtered: Whether it was asked for. Else rows of others may have come too.
    """

    key: str
    workspace: str = ""
    filtered: bool = False

    @classmethod
    def parse(cls, text: str) -> Look:
        """Read what ``str`` wrote."""
        key, filtered, workspace = [*text.split("/", 2), "", ""][:3]
        return cls(key, workspace, filtered == "only")

    def __str__(self) -> str:
        return f"{self.key}/{'only' if self.filtered else 'with'}/{self.workspace}" if self.workspace else self.key

    def at(self, workspace: str | None) -> Look:
        """Return what decides for rows that name this workspace, or none: of the former every look at it brings all."""
        return self if workspace is None else Look(self.key)

    def covers(self, last: Look, *, full: bool) -> bool:
        """Return whether a row that came in the last look would come in this one too.

        Args:
            last: The last full read that could see the row.
            full: Whether the user says that this key sees what any other key saw.
        """
        is_known = last.workspace == self.workspace and (last.filtered or not self.filtered)
        return (full or self.key == last.key) and (is_known or not (last.workspace or self.filtered))


NOBODY = Look("")


@dataclass(frozen=True, slots=True)
class Looks:
    """Who looked at the rows of a table before.

    Attributes:
        last: Workspace to the last full read that saw it; "" for rows that name none.
        aside: Rows that a later look did not see and could not be expected to: id to the look that did.
        more: How many such rows there are when they are too many to name; then every row that is not seen is one.
    """

    last: Mapping[str, Look] = field(default_factory=dict)
    aside: Mapping[str, Look] = field(default_factory=dict)
    more: int = 0

    def of(self, row_id: str, workspace: str | None, look: Look) -> Look:
        """Return the last look that saw a row; where none is recorded, one with this key."""
        if self.more:
            return NOBODY
        return self.aside.get(row_id) or self.last.get((workspace or "").casefold()) or Look(look.key)


def may_be_deleted(
    unseen: Iterable[tuple[str, str | None]], look: Look, before: Looks, *, full: bool
) -> tuple[list[str], dict[str, Look]]:
    """Divide the rows that a full read did not see into those that may be called deleted, and those set aside.

    A row is set aside when it last came under another key or in another workspace: OrgX may list it still.
    It stays there until that look is taken again, until it comes again, or until the user says so.

    Args:
        unseen: Id and workspace of each, of workspaces in sight.
        look: This read.
        before: The reads before.
        full: Whether the user asked for everything to be read and believed.

    Returns:
        Ids of the first, and of the others ids with the look that saw them last.
    """
    gone: list[str] = []
    aside: dict[str, Look] = {}
    for row_id, workspace in unseen:
        here, last = look.at(workspace), before.of(row_id, workspace, look)
        if here.covers(last, full=full):
            gone.append(row_id)
        else:
            aside[row_id] = last
    return gone, aside


def remembered(before: Looks, look: Look, workspaces: Iterable[str | None], aside: Mapping[str, Look]) -> Looks:
    """Return what is remembered after a full read.

    Args:
        before: What was remembered before.
        look: The read.
        workspaces: Those that it saw; None stands for the rows that name none.
        aside: The rows that are set aside now.
    """
    last = {**before.last, **{(name or "").casefold(): look.at(name) for name in workspaces}}
    return Looks(last, aside) if len(aside) <= MAX_SET_ASIDE else Looks(last, more=len(aside))


class LocalIds:
    """Ids that OrgX gives once in each workspace, such as the slugs of agents, made unique over all of them.

    The workspace that filled the table first keeps the ids as OrgX sends them; in any other, ``engineering-agent``
    becomes ``<workspace>/engineering-agent``. See ``docs/decisions/0011-ids-of-agents.md``.
    """

    def __init__(self, table: Table, home: str, workspace: str, known: KnownRows) -> None:
        """Prepare.

        Args:
            table: The table.
            home: The workspace whose ids stay as they are.
            workspace: The workspace that is read: that of rows that name none.
            known: The rows of the warehouse.
        """
        self.home = home
        self._table = table
        self._workspace = workspace
        self._known = known
        self._is_home = is_same_workspace(home, workspace)

    def stored(self, rows: Sequence[Row]) -> list[Row]:
        """Return rows with the ids that the warehouse gives them; those that it renames name their workspace."""
        return [self._renamed(row) for row in rows]

    def _renamed(self, row: Row) -> Row:
        keys = [key for key in self._table.columns[0].keys if is_id(row.get(key))]
        if not keys:
            return row
        sent, named = row[keys[0]], next(iter(named_workspaces(self._table, row)), None)
        workspace = named or self._workspace
        row_id = f"{workspace}/{sent}"
        if row_id not in self._known and self._stays(str(sent), workspace):
            return row
        return {
            **row,
            **{key: row_id for key in keys if row[key] == sent},
            **({} if named else {self._table.workspace[0]: workspace}),
        }

    def _stays(self, sent: str, workspace: str) -> bool:
        """Return whether a row keeps the id that OrgX gives it: at home, or where it has it already."""
        if self._is_home or is_same_workspace(workspace, self.home):
            return True
        plain = self._known.get(sent)
        return plain is not None and plain.workspace is not None and is_same_workspace(plain.workspace, workspace)

    def sent(self, row_id: str) -> str:
        """Return the id of a known row as OrgX gives it."""
        known = self._known.get(row_id)
        return row_id if known is None else row_id.removeprefix(f"{known.workspace}/")


@dataclass(frozen=True, slots=True)
class View:
    """What one run sees of one table.

    Attributes:
        sight: The workspaces.
        look: The key and the filter.
        full: Whether rows that only an earlier look saw are to be believed gone.
        local: How the ids of the table are made unique; None where OrgX's are.
    """

    sight: Sight
    look: Look
    full: bool = False
    local: LocalIds | None = None

    def workspace_of(self, row: KnownRow) -> str | None:
        """Return the workspace of a row in the warehouse; None where it names none and may belong to any."""
        return row.workspace if self.local is None else row.workspace or self.local.home

    def sees(self, row: KnownRow) -> bool:
        """Return whether a row is of a workspace in sight, or may be."""
        workspace = self.workspace_of(row)
        return workspace is None or self.sight.sees(workspace)

    def expected(self, rows: Mapping[str, KnownRow], before: Looks) -> list[str]:
        """Return the ids of the rows that would have come if OrgX still listed them."""
        in_sight = [(row_id, self.workspace_of(row)) for row_id, row in rows.items() if self.sees(row)]
        return may_be_deleted(in_sight, self.look, before, full=self.full)[0]

    def count_set_aside(self, known: KnownRows, before: Looks) -> int:
        """Return how many living rows that no read has met yet only another look saw, as far as is remembered."""
        if before.more:
            return before.more
        rows = [(row_id, known[row_id]) for row_id in before.aside if known.is_unseen(row_id)]
        unseen = [(row_id, self.workspace_of(row)) for row_id, row in rows if self.sees(row)]
        return len(may_be_deleted(unseen, self.look, before, full=False)[1])

    def find(self, ids: Sequence[str], ask: Callable[[Sequence[str]], set[str] | None]) -> set[str] | None:
        """Ask OrgX for rows by the ids that it gives them; return those it still has, None when it cannot be asked."""
        if self.local is None:
            return ask(ids)
        sent = {row_id: self.local.sent(row_id) for row_id in ids}
        found = ask(list(sent.values()))
        return None if found is None else {row_id for row_id, name in sent.items() if name in found}
