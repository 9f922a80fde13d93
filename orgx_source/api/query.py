"""The query of one list request, independent of the transport."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orgx_source.api.listing import Order

Parent = tuple[str, str]
"""Type and id of the entity that an artifact is attached to."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """One request of a list route.

    Attributes:
        limit: Maximum number of rows; None leaves it to OrgX.
        offset: Rows to skip.
        cursor: The next cursor of the previous page.
        order: The sort order; ``UNKNOWN`` leaves it to OrgX.
        since: Only rows changed since.
        ids: Only these rows.
        fields: Only these keys of each row.
        workspace_id: Only rows of this workspace.
        equals: Only rows in which a key has a given value.
        parent: Only rows that belong to this entity.
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
