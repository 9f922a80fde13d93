"""What the server showed during one run, and therefore what the run could know."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from datetime import datetime
from typing import Any

import orjson

from tests.sequences.organisation import IN_PLAY, STAMPED, State

PATHS = {
    "/api/client/live/agents": "agents",
    "/api/client/live/activity": "activity",
    "/api/client/live/initiatives": "initiatives",
    "/api/v1/work": "tasks",
}
ENTITIES = {"task": "tasks", "initiative": "initiatives"}
ROWS = ("data", "agents", "activities", "initiatives")


class Answers:
    """The server's responses during one run, by table.

    Attributes:
        listed: Ids that were in any list.
        shown, denied: Ids that were requested and returned, or requested and not returned.
        versions: Id to the versions that were shown.
    """

    def __init__(self) -> None:
        self.listed: dict[str, set[str]] = defaultdict(set)
        self.shown: dict[str, set[str]] = defaultdict(set)
        self.denied: dict[str, set[str]] = defaultdict(set)
        self.versions: dict[str, dict[str, set[State]]] = defaultdict(lambda: defaultdict(set))

    def note(self, path: str, params: dict[str, str], status: int, body: bytes) -> None:
        """Record a response."""
        table = ENTITIES.get(params.get("type", "")) if path == "/api/entities" else PATHS.get(path)
        if table is None or status != 200:
            return
        with suppress(orjson.JSONDecodeError):
            document = orjson.loads(body)
            rows = next((document[name] for name in ROWS if name in document), [])
            ids = {row["id"] for row in rows if "id" in row}
            for row in rows:
                if "id" in row:
                    self.versions[table][row["id"]].add(_version(table, row))
            asked = set(params.get("ids", "").split(",")) - {""}
            if asked:
                self.shown[table] |= asked & ids
                self.denied[table] |= asked - ids
            else:
                self.listed[table] |= ids


def _version(table: str, row: dict[str, Any]) -> State:
    """Return a version as it was shown."""
    stamps = ("updated_at", "updatedAt", "created_at", "createdAt") if IN_PLAY[table].kind in STAMPED else ()
    stamp = next((row[name] for name in stamps if row.get(name)), None)
    return f"{row.get(IN_PLAY[table].column)} ({row.get('status')})", stamp and datetime.fromisoformat(stamp)
