"""Which rows are this run's business: those of the workspaces that it can see."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orgx_source.api.envelope import Row
from orgx_source.tables import Table, spellings


def rows_in_workspace(table: Table, rows: list[Row], workspace_id: str | None) -> list[Row]:
    """Return the rows of a workspace, and those that name none: OrgX's own filter is not always trusted.

    Args:
        table: The table.
        rows: Rows as OrgX sent them.
        workspace_id: The workspace asked for; None keeps all rows.
    """
    if workspace_id is None:
        return rows
    keys = spellings(*table.workspace)
    kept = []
    for row in rows:
        named = {value for key in keys if isinstance(value := row.get(key), str) and value}
        if not named or workspace_id in named:
            kept.append(row)
    return kept


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
        self._seen = {own}

    def note(self, workspaces: Iterable[str | None]) -> None:
        """Note the workspaces of rows that came."""
        self._seen.update(name for name in workspaces if name)

    def sees(self, workspace: str | None) -> bool:
        """Return whether a row that names this workspace, or none, would have come if OrgX still listed it."""
        if self._wanted is not None:
            return workspace == self._wanted
        if workspace is None or workspace in self._seen:
            return True
        self._seen |= self._listed()
        return workspace in self._seen
