"""Search as in OrgX's MCP tools and its memory: pages of typed collections, and the most relevant hits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from orgx_source.sandbox.answers import RefusalError
from orgx_source.sandbox.faults import Hits, distort_rows
from orgx_source.sandbox.lists import make_cursor, read_cursor, sort_rows
from orgx_source.sandbox.world import Row, World

if TYPE_CHECKING:
    from orgx_source.sandbox.app import SandboxApp

RECALLED = {"decisions": "decision", "artifacts": "artifact", "initiatives": "initiative"}
RECALL_DEFAULT = 10


class Searching:
    """Both kinds of search in the world; each holds the world's lock while it builds its response."""

    def __init__(self, app: SandboxApp) -> None:
        self._app = app

    def home(self) -> Row:
        """Return the workspace of every session."""
        with self._app.world.lock:
            return dict(next(iter(self._app.world.find("workspace").values())))

    def rows(self, kind: str) -> list[Row]:
        """Return all rows of a type, newest first."""
        return sort_rows(self._app.world.rows(kind), "created_at", True)

    def search(self, kind: str, asked: str, arguments: Mapping[str, Any], hits: Hits) -> Row:
        """Return one page of a typed collection.

        Args:
            kind: The type in the world.
            asked: The requested type.
            arguments: The tool's arguments, with their types already checked.
            hits: The faults that apply to this request.
        """
        if "drift" in hits:
            hits.value("drift")(self._app.world, hits.numbers["drift"])
        with self._app.world.lock:
            world = self._world(hits)
            rows = [row for row in sort_rows(world.find(kind).values(), "created_at", True)]
            rows = [row for row in rows if self._is_asked_for(world, kind, row, arguments, hits)]
            limit = min(arguments.get("limit", 20), self._app.page_max, hits.value("clamp") or self._app.page_max)
            offset = read_cursor(arguments["cursor"]) if "cursor" in arguments else arguments.get("offset", 0)
            chosen = rows[offset : offset + limit]
            pagination = self._pagination(len(rows), offset, limit, hits)
            if status := arguments.get("status"):
                # After paging: the page may be short or even empty although more rows follow.
                chosen = [row for row in chosen if row.get("status") == status]
            shown = distort_rows([self._show(world, asked, row) for row in chosen], hits)
        if fields := arguments.get("fields"):
            shown = [{key: value for key, value in row.items() if key in {"id", *fields}} for row in shown]
        answer: Row = {
            "_v2_tool": "orgx_search",
            "type": asked,
            "search_mode": "typed_collection",
            "query": arguments.get("query"),
            "count": len(shown),
            "results": shown,
            "pagination": pagination,
        }
        if pagination.get("next_cursor"):
            kept = {key: value for key, value in arguments.items() if key not in ("offset", "cursor")}
            answer["next_call"] = {"tool": "orgx_search", "args": kept | {"cursor": pagination["next_cursor"]}}
        return answer

    def recall(self, query: str, scope: str) -> list[Row]:
        """Return the memory hits for a query, most relevant first."""
        if scope != "all" and scope not in RECALLED:
            raise RefusalError(400, "invalid_input", f"scope must be all, {', '.join(RECALLED)}.")
        words = query.lower().split()
        kinds = RECALLED.values() if scope == "all" else [RECALLED[scope]]
        found = []
        for kind in kinds:
            for row in self._app.world.rows(kind):
                title = str(row.get("title") or row.get("name") or "")
                told = f"{title} {row.get('summary') or ''}".lower()
                score = sum(word in told for word in words) / len(words)
                if score:
                    found.append(_recalled(kind, row, title, score))
        return sorted(found, key=lambda row: (-row["relevance_score"], row["id"]))

    def _world(self, hits: Hits) -> World:
        world = self._app.world
        return world.at(world.now - timedelta(seconds=hits.seconds("stale"))) if hits.seconds("stale") else world

    def _is_asked_for(self, world: World, kind: str, row: Row, arguments: Mapping[str, Any], hits: Hits) -> bool:
        home = next(iter(world.find("workspace")))
        wanted = arguments.get("workspace_id")
        if wanted is not None and wanted not in world.find("workspace"):
            raise RefusalError(404, "entity_not_found", "No such workspace.")
        if kind != "workspace" and not ("all_workspaces" in hits and wanted is None):
            # By default the session's workspace; rows without a workspace belong to the first one.
            own = row.get("workspace_id") or row.get("command_center_id") or home
            if own != (wanted or home):
                return False
        initiative = arguments.get("initiative_id")
        if initiative and row.get("initiative_id") != initiative:
            return False
        if (query := arguments.get("query")) and query.lower() not in str(row.get("title") or row.get("name")).lower():
            return False
        made = row.get("created_at")
        for name, is_early in (("created_from", False), ("created_to", True)):
            if name in arguments and (made is None or _is_beyond(made, arguments[name], late=is_early)):
                return False
        return True

    def _pagination(self, count: int, offset: int, limit: int, hits: Hits) -> Row:
        more = offset + limit < count or "has_more_forever" in hits
        following = offset + limit if more else None
        found: Row = {
            "total": max(0, count + (hits.value("wrong_total") or 0)),
            "limit": limit,
            "offset": offset,
            "has_more": more,
            "next_offset": following,
            "next_cursor": None if following is None or "no_cursor" in hits else make_cursor(following),
            "previous_cursor": make_cursor(max(0, offset - limit)) if offset else None,
        }
        if "no_total" in hits:
            found["total"] = None
        if "no_echo" in hits:
            del found["limit"], found["offset"]
        if "no_has_more" in hits:
            del found["has_more"]
        return found

    def _show(self, world: World, asked: str, row: Row) -> Row:
        shown = row | {"type": asked}
        if asked == "decision" and row["status"] == "pending":
            asked_at = datetime.fromisoformat(row["created_at"])
            shown["waiting_minutes"] = int((world.now - asked_at).total_seconds() // 60) + len(self._app.seen)
        return shown


def _recalled(kind: str, row: Row, title: str, score: float) -> Row:
    return {
        "id": row["id"],
        "type": kind,
        "title": title,
        "summary": row.get("summary"),
        "relevance_score": round(score, 4),
        "created_at": row.get("created_at"),
        "initiative_id": row.get("initiative_id"),
    }


def _is_beyond(made: str, bound: str, *, late: bool) -> bool:
    moment: datetime | None
    try:
        moment = datetime.fromisoformat(bound)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise RefusalError(400, "invalid_input", "Times must have a time zone.")
    return datetime.fromisoformat(made) > moment if late else datetime.fromisoformat(made) < moment
