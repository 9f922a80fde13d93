"""What one request asks of a list: a value, in the words of no transport."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orgx_source.api.listing import Order

Parent = tuple[str, str]
"""Entity type and id of what an artifact is attached to."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """One request of a list route.

    Attributes:
        limit: Rows to give at most; None leaves it to OrgX.
        offset: Rows to skip.
        cursor: Where the page before said that the next one begins.
        order: The order to give them in; ``UNKNOWN`` leaves it to OrgX.
        since: Only what changed since.
        ids: Only these rows.
        fields: Only these keys of each row.
        workspace_id: Only rows of this workspace.
        equals: Only rows in which a key has this value.
        parent: Only what belongs to this entity.
    """

    limit: int | None = None
    offset: int | None = None
    cursor: str | None = None
    order: Order = Order.UNKNOWN
    since: datetime | None = None
    ids: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    workspace_id: str | None = None
    equals: tuple[str, str] | None = None
    parent: Parent | None = None
