"""The content of an event: its id, its type, and the rows it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orgx_source.api.envelope import parse_json
from orgx_source.tables import TABLES, camel_case, is_id
from orgx_source.times import parse_timestamp

# Source: webhooks page.
DOCUMENTED = frozenset(
    {
        "decision.created",
        "decision.resolved",
        "artifact.shipped",
        "agent.started",
        "agent.completed",
        "initiative.updated",
    }
)
MAX_ID = 512
MAX_TYPE = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TABLES = {table.singular: name for name, table in TABLES.items() if name not in ("workspaces", "activity")}


@dataclass(frozen=True, slots=True)
class Event:
    """A received event.

    Attributes:
        number: Its position in the inbox.
        id: Its id.
        body: The parsed body; None if it was damaged in the inbox.
        received_at: When it was received (UTC).
        signature_key: Number of the secret that signed it, from 1.
    """

    number: int
    id: str
    body: dict[str, Any] | None
    received_at: datetime
    signature_key: int

    def _value(self, name: str) -> Any:
        return None if self.body is None else self.body.get(name)

    @property
    def type(self) -> str | None:
        """OrgX's type of the event; None if missing."""
        found = self._value("type")
        return _CONTROL.sub(" ", found)[:MAX_TYPE] if isinstance(found, str) else None

    @property
    def created_at(self) -> datetime | None:
        """OrgX's time of the event."""
        return parse_timestamp(self._value("created"))

    @property
    def workspace_id(self) -> str | None:
        """The workspace that it names."""
        found = self._value("workspace_id")
        return found if isinstance(found, str) else None

    @property
    def table(self) -> str | None:
        """The table that it is about; None if the type does not show it."""
        return _TABLES.get((self.type or "").partition(".")[0])

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the rows that it names, as table and id; for agents, only the table.

        Source: only ``decision.created`` is documented with its ``data``; for the others, only ``id`` is relied on.
        """
        data = self._value("data")
        data = data if isinstance(data, dict) else {}
        table = self.table
        if table == "agents":
            yield "agents", ""
        elif table is not None and is_id(data.get("id")):
            yield table, str(data["id"])
        for kind, other in _TABLES.items():
            if other in ("agents", table):
                continue
            key = f"{kind}_id"
            found = next((data[name] for name in (key, camel_case(key)) if is_id(data.get(name))), None)
            if found is not None:
                yield other, str(found)


def parse_event(body: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return the id and the content of a body; None for anything except a JSON object with an id."""
    try:
        content = parse_json(body)
    except (ValueError, RecursionError):
        return None
    found = content.get("id") if isinstance(content, dict) else None
    if not is_id(found) or len(text := str(found)) > MAX_ID or _CONTROL.search(text):
        return None
    return text, content
