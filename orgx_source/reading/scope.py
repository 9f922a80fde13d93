"""Determines the scope of a run: the rows of the workspaces visible to it, and their ids in the warehouse.

It decides which rows a full read may mark as deleted at all. Whether they are marked is decided in `deletions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from orgx_source.api.envelope import Row
from orgx_source.rows.known_rows import KnownRow, KnownRows
from orgx_source.tables import Table, is_id, spellings

# Maximum number of ids of rows seen only by an earlier look in the state; beyond it, only their number is stored.
MAX_SET_ASIDE = 5_000


def is_same_workspace(one: str, other: str) -> bool:
    """Return whether two ids are the same workspace: UUIDs are case-insensitive."""
    return one.casefold() == other.casefold()


def named_workspaces(table: Table, row: Row) -> list[str]:
    """Return the workspaces named in a row from OrgX, in order of preference."""
    return [value for key in spellings(*table.workspace) if isinstance(value := row.get(key), str) and value]


def rows_in_workspace(table: Table, rows: list[Row], workspace_id: str | None) -> list[Row]:
    """Return the rows of a workspace, and those that name none: OrgX's own filter is not always reliable.

    Args:
        table: The table.
        rows: Rows as OrgX sent them.
        workspace_id: The requested workspace; None keeps all rows.
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
    """Return OrgX's total for the requested workspace; None if the total does not show it.

    Args:
        total: OrgX's total.
        foreign: Number of rows of other workspaces received despite the filter.
        whole: Whether every row was read.
        obeyed: Whether OrgX obeys the workspace filter, as far as known.
    """
    if total is None or (obeyed and not foreign):
        return total
    return max(0, total - foreign) if whole else None


class Sight:
    """The workspaces visible to a run; rows of other workspaces are out of its scope."""

    def __init__(self, wanted: str | None, own: str, listed: Callable[[], set[str]]) -> None:
        """Start without requests.

        Args:
            wanted: The requested workspace; None for all.
            own: The workspace that the key resolves to.
            listed: Requests the list of workspaces from OrgX; called only if a row's workspace is unknown.
        """
        self._wanted = wanted
        self._listed = listed
        self._seen = {own.casefold()}

    def note(self, workspaces: Iterable[str | None]) -> None:
        """Record the workspaces of received rows."""
        self._seen.update(name.casefold() for name in set(workspaces) if name)

    @property
    def workspaces(self) -> set[str]:
        """Return the workspaces known to be visible, in lower case."""
        return self._seen if self._wanted is None else {self._wanted.casefold()}

    def sees(self, workspace: str | None) -> bool:
        """Return whether a row with this workspace, or none, would have been received if OrgX still listed it."""
        if self._wanted is not None:
            return workspace is not None and is_same_workspace(workspace, self._wanted)
        if workspace is None or workspace.casefold() in self._seen:
            return True
        self._seen.update(name.casefold() for name in self._listed())
        return workspace.casefold() in self._seen


def key_digest(api_key: str) -> str:
    """Return a digest of a key, 16 hexadecimal digits.

    Safe to store with the data: a digest cannot be reversed, keys are too long and random to guess, and 64 bits match
    countless other texts.
    """
    return blake2b(api_key.encode(), digest_size=8, person=b"orgx-source-key").hexdigest()


@dataclass(frozen=True, slots=True)
class Look:
    """What determines which rows a full read returns.

    Attributes:
        key: Digest of the key; empty if unknown.
        workspace: The requested workspace, else the one that the key resolves to, in lower case; empty for rows that
            name theirs, and if unknown.
        filtered: Whether it was requested. Otherwise rows of others may have been received too.
    """

    key: str
    workspace: str = ""
    filtered: bool = False

    @classmethod
    def parse(cls, text: str) -> Look:
        """Parse the result of ``str``."""
        key, filtered, workspace = [*text.split("/", 2), "", ""][:3]
        return cls(key, workspace, filtered == "only")

    def __str__(self) -> str:
        return f"{self.key}/{'only' if self.filtered else 'with'}/{self.workspace}" if self.workspace else self.key

    def at(self, workspace: str | None) -> Look:
        """Return the look for rows that name this workspace, or none; for the former, every look at it returns all."""
        return self if workspace is None else Look(self.key)

    def covers(self, last: Look, *, full: bool) -> bool:
        """Return whether a row received in the last look would be received in this one too.

        Args:
            last: The last full read that could see the row.
            full: Whether the user states that this key sees everything that other keys saw.
        """
        is_known = last.workspace == self.workspace and (last.filtered or not self.filtered)
        return (full or self.key == last.key) and (is_known or not (last.workspace or self.filtered))


NOBODY = Look("")


@dataclass(frozen=True, slots=True)
class Looks:
    """The earlier looks at the rows of a table.

    Attributes:
        last: Workspace to the last full read that saw it; "" for rows that name none.
        aside: Rows that a later look did not see and was not expected to see: id to the look that did.
        more: Number of such rows if they are too many to list; then every row not seen counts as one.
    """

    last: Mapping[str, Look] = field(default_factory=dict)
    aside: Mapping[str, Look] = field(default_factory=dict)
    more: int = 0

    def of(self, row_id: str, workspace: str | None, look: Look) -> Look:
        """Return the last look that saw a row; if none is recorded, one with this key."""
        if self.more:
            return NOBODY
        return self.aside.get(row_id) or self.last.get((workspace or "").casefold()) or Look(look.key)


def may_be_deleted(
    unseen: Iterable[tuple[str, str | None]], look: Look, before: Looks, *, full: bool
) -> tuple[list[str], dict[str, Look]]:
    """Divide the rows that a full read did not see into those that may be deleted, and those set aside.

    A row is set aside if it was last received with another key or workspace: OrgX may still list it. It stays set aside
    until that look is repeated, until it is received again, or until the user decides.

    Args:
        unseen: Id and workspace of each row, in visible workspaces.
        look: This read.
        before: The earlier looks.
        full: Whether the user requested a full run, whose result counts for all keys.

    Returns:
        Ids of the former; for the latter, ids with the look that saw them last.
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
    """Return the looks to store after a full read.

    Args:
        before: The looks stored before.
        look: The read.
        workspaces: Those that it saw; None for the rows that name none.
        aside: The rows set aside now.
    """
    last = {**before.last, **{(name or "").casefold(): look.at(name) for name in workspaces}}
    return Looks(last, aside) if len(aside) <= MAX_SET_ASIDE else Looks(last, more=len(aside))


class LocalIds:
    """Makes ids that are unique only within a workspace, such as agent slugs, unique across workspaces.

    The workspace that filled the table first keeps OrgX's ids; in any other, ``engineering-agent``
    becomes ``<workspace>/engineering-agent``. See ``docs/decisions/0011-ids-of-agents.md``.
    """

    def __init__(self, table: Table, home: str, workspace: str, known: KnownRows) -> None:
        """Prepare.

        Args:
            table: The table.
            home: The workspace whose ids are unchanged.
            workspace: The workspace being read, used for rows that name none.
            known: The rows in the warehouse.
        """
        self.home = home
        self._table = table
        self._workspace = workspace
        self._known = known
        self._is_home = is_same_workspace(home, workspace)

    def stored(self, rows: Sequence[Row]) -> list[Row]:
        """Return rows with their ids in the warehouse; renamed rows also get their workspace."""
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
        """Return whether a row keeps OrgX's id: in the home workspace, or if it already has it in the warehouse."""
        if self._is_home or is_same_workspace(workspace, self.home):
            return True
        plain = self._known.get(sent)
        return plain is not None and plain.workspace is not None and is_same_workspace(plain.workspace, workspace)

    def sent(self, row_id: str) -> str:
        """Return OrgX's id of a known row."""
        known = self._known.get(row_id)
        return row_id if known is None else row_id.removeprefix(f"{known.workspace}/")


@dataclass(frozen=True, slots=True)
class View:
    """The part of one table that is visible to one run.

    Attributes:
        sight: The workspaces.
        look: The key and the filter.
        full: Whether rows seen only by an earlier look may count as deleted.
        local: Makes ids unique; None if OrgX's ids are unique.
    """

    sight: Sight
    look: Look
    full: bool = False
    local: LocalIds | None = None

    def workspace_of(self, row: KnownRow) -> str | None:
        """Return the workspace of a row in the warehouse; None if it names none and may belong to any."""
        return row.workspace if self.local is None else row.workspace or self.local.home

    def sees(self, row: KnownRow) -> bool:
        """Return whether a row belongs, or may belong, to a visible workspace."""
        workspace = self.workspace_of(row)
        return workspace is None or self.sight.sees(workspace)

    def expected(self, rows: Mapping[str, KnownRow], before: Looks) -> list[str]:
        """Return the ids of the rows that would have been received if OrgX still listed them."""
        in_sight = [(row_id, self.workspace_of(row)) for row_id, row in rows.items() if self.sees(row)]
        return may_be_deleted(in_sight, self.look, before, full=self.full)[0]

    def count_set_aside(self, known: KnownRows, before: Looks) -> int:
        """Return the number of living rows not met yet that only another look saw, as far as stored."""
        if before.more:
            return before.more
        rows = [(row_id, known[row_id]) for row_id in before.aside if known.is_unseen(row_id)]
        unseen = [(row_id, self.workspace_of(row)) for row_id, row in rows if self.sees(row)]
        return len(may_be_deleted(unseen, self.look, before, full=False)[1])

    def find(self, ids: Sequence[str], ask: Callable[[Sequence[str]], set[str] | None]) -> set[str] | None:
        """Request rows by OrgX's ids; return those that still exist, None if they cannot be requested."""
        if self.local is None:
            return ask(ids)
        sent = {row_id: self.local.sent(row_id) for row_id in ids}
        found = ask(list(sent.values()))
        return None if found is None else {row_id for row_id, name in sent.items() if name in found}
