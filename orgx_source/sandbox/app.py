"""OrgX's HTTP face over a `World`: paths, envelopes, errors, limits, and the faults that are switched on.

Written from what is known of OrgX's API, without a line of the reader it serves: two readings of one contract.
Where OrgX is silent (order of live lists, default page sizes of v1), the sandbox picks what is least convenient.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orgx_source.sandbox.faults import Fault, FaultBoard, Hits, distort_rows, http_date, needs_plain_json, plain_json
from orgx_source.sandbox.world import Row, World

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

DEFAULT_KEY = "oxk_sandbox_" + "0" * 32
PAGE_DEFAULT = 20
FEED_DEFAULT = 100
ENTITY_TYPES = {
    "initiative": "initiative",
    "workstream": "workstream",
    "milestone": "milestone",
    "task": "task",
    "decision": "decision",
    "artifact": "artifact",
    "run": "run",
    "agent": "agent",
    "command_center": "workspace",
}
ORDER_FIELDS = (
    "created_at", "updated_at", "sequence", "due_date", "priority", "status", "title", "name", "natural",
)  # fmt: skip
PARENTS = ("initiative_id", "workstream_id", "milestone_id")
LIVE_INITIATIVE = ("id", "title", "status", "priority")
V1_DECISION = (
    "id", "workspace_id", "title", "summary", "status", "shape", "blocks_task", "task_id", "initiative_id",
    "created_at", "updated_at",
)  # fmt: skip
V1_URGENCY = {"low": "deferred", "medium": "standard", "high": "urgent", "critical": "critical"}
V1_WORK = (
    "id", "title", "status", "priority", "due_date", "initiative_id", "workstream_id", "milestone_id", "sequence",
    "metadata", "created_at", "updated_at",
)  # fmt: skip


@dataclass
class RateLimit:
    """A budget of requests per window, told in ``X-RateLimit-*``.

    Attributes:
        limit: Requests per window.
        window: Seconds.
        clock: Unix seconds.
    """

    limit: int
    window: float = 3600.0
    clock: Callable[[], float] = time.time
    spent: int = 0
    until: float = 0.0

    def take(self) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it may pass, and the headers that say what is left."""
        now = self.clock()
        if now >= self.until:
            self.spent, self.until = 0, now + self.window
        allowed = self.spent < self.limit
        self.spent += allowed
        headers = {
            "x-ratelimit-tier": "free",
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.limit - self.spent),
            "x-ratelimit-reset": str(int(-(-self.until // 1))),
        }
        if not allowed:
            headers["retry-after"] = str(max(1, int(-(-(self.until - now) // 1))))
        return allowed, headers


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that the sandbox received.

    Attributes:
        method, path: As sent.
        params: Query parameters; of repeated ones the last.
        status: What was answered; 0 when the connection was cut instead.
    """

    method: str
    path: str
    params: Mapping[str, str]
    status: int


class _Refusal(Exception):
    """Ends a request with an error in OrgX's structured shape."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class SandboxApp:
    """An ASGI application: what stands before every path, with the paths behind it.

    Attributes:
        world: What is served.
        api_key: The only key that is accepted.
        board: The faults that are switched on.
        rate_limit: None for a server that names no limit.
        page_max: Largest page; larger limits are clamped without a word.
        seen: Every request, in order.
    """

    world: World
    api_key: str = DEFAULT_KEY
    board: FaultBoard = field(default_factory=lambda: FaultBoard([]))
    rate_limit: RateLimit | None = None
    page_max: int = 100
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._paths = Starlette(
            routes=_Paths(self).routes(), middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] != "http":
            await self._paths(scope, receive, send)
            return
        params = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        path, status = scope["path"], 0
        hits = self.board.match(path, params.get("type"))
        extra: dict[str, str] = {}

        async def note(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not any(name == b"date" for name, _ in message["headers"]):
                    extra["date"] = http_date(self.world.now, 0)
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in extra.items())]
            await send(message)

        try:
            if "slow" in hits:
                await asyncio.sleep(hits.value("slow"))
            if "reset" in hits:
                _transport(send).abort()
                return
            answer = self._refuse(scope, hits, extra)
            scope.setdefault("state", {})["hits"] = hits
            if answer is not None:
                await answer(scope, receive, note)
            else:
                await self._paths(scope, receive, _cut(note, send) if "cut_body" in hits else note)
        finally:
            self.seen.append(Seen(scope["method"], path, params, status))

    def _refuse(self, scope: Scope, hits: Hits, extra: dict[str, str]) -> Response | None:
        """Return the answer for a request that does not get as far as its path."""
        if "redirect" in hits:
            return Response(status_code=307, headers={"location": hits.value("redirect") + scope["path"]})
        if "status" in hits:
            return _refusal(hits.value("status"), "server_error", "This was switched on.")
        if "status_html" in hits:
            return _html(hits.value("status_html"))
        if "html" in hits:
            return _html(200)
        for kind in ("rate_limited", "rate_limited_date", "rate_limited_reset"):
            if kind in hits:
                return _too_many(kind, hits.value(kind))
        if Headers(scope=scope).get("authorization") != f"Bearer {self.api_key}":
            return _json({"error": "Unauthorized", "message": "A valid API key is needed."}, 401)
        if "closed" in hits:
            if hits.value("closed") == 401:
                return _json({"error": "Unauthorized", "message": "A valid API key is needed."}, 401)
            code = {403: "permission_denied", 404: "entity_not_found"}.get(hits.value("closed"), "invalid_input")
            return _refusal(hits.value("closed"), code, "This path is closed.")
        if self.rate_limit is not None:
            allowed, headers = self.rate_limit.take()
            extra |= headers
            if not allowed:
                body = {"error": "rate_limit_exceeded", "tier": "free", "retry_after_seconds": headers["retry-after"]}
                return _json(body, 429)
        return None


class _Paths:
    """The endpoints. Each holds the world's lock while it builds its answer."""

    def __init__(self, app: SandboxApp) -> None:
        self._app = app
        self._world = app.world

    def routes(self) -> list[Route]:
        endpoints: dict[str, Callable[[Request, Hits], Response]] = {
            "/api/client/live/initiatives": self._live_initiatives,
            "/api/client/live/agents": self._live_agents,
            "/api/client/live/activity": self._live_activity,
            "/api/client/artifacts/by-entity": self._artifacts_by_entity,
            "/api/client/artifacts/{id}": self._artifact,
            "/api/entities": self._entities,
            "/api/v1/decisions": self._v1_decisions,
            "/api/v1/artifacts": self._v1_artifacts,
            "/api/v1/artifacts/by-entity": self._artifacts_by_entity,
            "/api/v1/artifacts/{id}": self._artifact,
            "/api/v1/work": self._v1_work,
        }
        found = [Route(path, self._guard(endpoint), methods=["GET"]) for path, endpoint in endpoints.items()]
        both = Route("/api/client/bootstrap", self._guard(self._bootstrap), methods=["GET", "POST"])
        nothing = Route("/{rest:path}", self._guard(self._nothing), methods=["GET", "POST", "PATCH", "PUT", "DELETE"])
        return [both, *found, nothing]

    def _guard(self, endpoint: Callable[[Request, Hits], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            hits: Hits = request.state.hits
            try:
                if "drift" in hits:
                    hits.value("drift")(self._world, hits.numbers["drift"])
                with self._world.lock:
                    response = endpoint(request, hits)
            except _Refusal as refusal:
                return _refusal(refusal.status, refusal.code, refusal.message)
            if "truncated" in hits:
                return Response(bytes(response.body)[: len(response.body) // 2], media_type="application/json")
            return response

        return answer

    def _nothing(self, request: Request, hits: Hits) -> Response:
        raise _Refusal(404, "entity_not_found", "There is nothing here.")

    def _bootstrap(self, request: Request, hits: Hits) -> Response:
        workspace = self._home()
        data = {
            "workspace": {"id": workspace["id"], "name": workspace["name"]},
            "sourceClient": request.query_params.get("source_client", "custom"),
            "capabilities": [],
            "setup": {"ready": True},
        }
        return self._answer({"ok": True, "data": data}, hits)

    # -- live ------------------------------------------------------------------------------------------------------

    def _live_initiatives(self, request: Request, hits: Hits) -> Response:
        scope, query = self._scope(request, hits), request.query_params
        wanted = query.get("id")

        def make(rows: list[Row]) -> list[Row]:
            return sorted((row for row in rows if self._within(row, scope)), key=lambda row: row["id"])

        rows = self._world.listing("initiative", ("live", scope), make)
        if wanted is not None:
            rows = [row for row in rows if row["id"] == wanted]
        chosen, pagination = self._cut_page(rows, request, hits)
        total = pagination.pop("total", None)
        document: Row = {"initiatives": distort_rows([_live_initiative(row) for row in chosen], hits)}
        if total is not None:
            document["total"] = total
        return self._answer(document | {"pagination": pagination}, hits)

    def _live_agents(self, request: Request, hits: Hits) -> Response:
        query = request.query_params
        rows = list(self._world.find("agent").values())
        if query.get("include_idle", "true") == "false":
            rows = [row for row in rows if row["status"] != "idle"]
        if query.get("initiative"):
            rows = [row for row in rows if row["initiative_id"] == query["initiative"]]
        states = ("running", "queued", "blocked", "idle")
        summary = {state: sum(row["status"] == state for row in rows) for state in states}
        if "no_total" not in hits:
            summary = {"total": len(rows), **summary}
        return self._answer({"agents": distort_rows([_camel(row) for row in rows], hits), "summary": summary}, hits)

    def _live_activity(self, request: Request, hits: Hits) -> Response:
        query = request.query_params
        rows = self._world.listing(
            "activity", ("newest",), lambda rows: sorted(rows, key=lambda r: (r["timestamp"], r["id"]), reverse=True)
        )
        if query.get("since") and "ignore_since" not in hits:
            since = _moment(query["since"])
            rows = [row for row in rows if datetime.fromisoformat(row["timestamp"]) >= since]
        if query.get("run"):
            rows = [row for row in rows if row["run_id"] == query["run"]]
        limit = min(_number(query, "limit", FEED_DEFAULT), hits.value("clamp") or len(rows))
        document: Row = {"activities": distort_rows([_camel(row) for row in rows[:limit]], hits)}
        if "no_total" not in hits:
            document["total"] = limit if "page_total" in hits else len(rows)
        return self._answer(document, hits)

    # -- entities --------------------------------------------------------------------------------------------------

    def _entities(self, request: Request, hits: Hits) -> Response:
        query = request.query_params
        kind = ENTITY_TYPES.get(query.get("type", ""))
        if kind is None:
            raise _Refusal(400, "invalid_input", f"type must be one of {', '.join(ENTITY_TYPES)}.")
        if "offset" in query and "cursor" in query:
            raise _Refusal(400, "invalid_input", "offset and cursor exclude each other.")
        scope = self._scope(request, hits)
        filters = tuple((key, query[key]) for key in ("status", "search", "domain", *PARENTS) if query.get(key))
        if kind == "run":
            filters = tuple(pair for pair in filters if pair[0] != "initiative_id")
        below = any(key in PARENTS for key, _ in filters)
        order = query.get("order_by", "sequence" if below else "created_at")
        if order not in ORDER_FIELDS:
            raise _Refusal(400, "invalid_input", f"order_by must be one of {', '.join(ORDER_FIELDS)}.")
        descending = query.get("order_direction", "asc" if below else "desc") == "desc"
        if "ignore_order" in hits:
            order, descending = "created_at", True

        def make(rows: list[Row]) -> list[Row]:
            kept = [row for row in rows if self._within(row, scope) and all(_matches(row, *pair) for pair in filters)]
            return _sorted(kept, order, descending)

        rows = self._world.listing(kind, ("entities", scope, filters, order, descending), make)
        wanted = query.get("ids") or query.get("id")
        if wanted and "ignore_ids" not in hits:
            ids = set(wanted.split(","))
            rows = [row for row in rows if row["id"] in ids]
        elif "hidden" in hits:
            rows = [row for row in rows if int(row["id"][:2], 16) % 3]
        chosen, pagination = self._cut_page(rows, request, hits)
        shown = [] if "empty" in hits else [self._entity(kind, row) for row in chosen]
        if query.get("fields") and "ignore_fields" not in hits:
            fields = {"id", *query["fields"].split(",")}
            shown = [{key: value for key, value in row.items() if key in fields} for row in shown]
        return self._answer({"type": query["type"], "data": distort_rows(shown, hits), "pagination": pagination}, hits)

    def _entity(self, kind: str, row: Row) -> Row:
        if kind == "decision" and row["status"] == "pending":
            # Derived, and different on every read: whoever compares it sees changes where there are none.
            asked = datetime.fromisoformat(row["created_at"])
            return row | {"waiting_minutes": int((self._world.now - asked).total_seconds() // 60) + len(self._app.seen)}
        return row

    # -- v1 and artifacts ------------------------------------------------------------------------------------------

    def _v1_decisions(self, request: Request, hits: Hits) -> Response:
        scope, query = self._v1_scope(request, hits), request.query_params
        rows = _sorted([r for r in self._world.find("decision").values() if self._within(r, scope)], "created_at", True)
        shown = [_v1_decision(row) for row in rows]
        for key in ("shape", "urgency", "status"):
            if query.get(key):
                shown = [row for row in shown if row[key] == query[key]]
        return self._answer({"decisions": distort_rows(shown[: self._limit(query, hits)], hits)}, hits)

    def _v1_artifacts(self, request: Request, hits: Hits) -> Response:
        scope, query = self._v1_scope(request, hits), request.query_params
        rows = [row for row in self._world.find("artifact").values() if self._within(row, scope)]
        for key in ("status", "initiative_id", "task_id"):
            if query.get(key):
                rows = [row for row in rows if row[key] == query[key]]
        if query.get("since") and "ignore_since" not in hits:
            since = _moment(query["since"])
            rows = [r for r in rows if datetime.fromisoformat(r["updated_at"] or r["created_at"]) >= since]
        rows = _sorted(rows, "created_at", True)[: self._limit(query, hits)]
        return self._answer({"artifacts": distort_rows(rows, hits)}, hits)

    def _v1_work(self, request: Request, hits: Hits) -> Response:
        scope, query = self._v1_scope(request, hits), request.query_params
        rows = [row for row in self._world.find("task").values() if self._within(row, scope)]
        for key in ("status", "initiative_id"):
            if query.get(key):
                rows = [row for row in rows if row[key] == query[key]]
        if query.get("updated_since") and "ignore_since" not in hits:
            since = _moment(query["updated_since"])
            rows = [r for r in rows if datetime.fromisoformat(r["updated_at"] or r["created_at"]) >= since]
        rows = sorted(rows, key=lambda row: row["id"])
        start, limit = _read_cursor(query.get("cursor")), self._limit(query, hits)
        chosen = rows[start : start + limit]
        more = start + limit < len(rows)
        meta: Row = {
            "apiVersion": "1",
            "workspaceId": scope,
            "count": len(chosen),
            "hasMore": more,
            "nextCursor": _cursor(start + limit) if more else None,
            "limit": limit,
        }
        shown = [
            {key: row.get(key) for key in V1_WORK} | {"updated_at": row["updated_at"] or row["created_at"]}
            for row in chosen
        ]
        return self._answer({"data": distort_rows(shown, hits), "meta": meta}, hits)

    def _artifacts_by_entity(self, request: Request, hits: Hits) -> Response:
        query = request.query_params
        entity = (query.get("entity_type", ""), query.get("entity_id", ""))
        if not all(entity):
            raise _Refusal(400, "invalid_input", "entity_type and entity_id are needed.")

        def make(rows: list[Row]) -> Any:
            groups: dict[tuple[str, str], list[Row]] = {}
            for row in rows:
                groups.setdefault((row["entity_type"], row["entity_id"]), []).append(row)
            return groups

        groups: Any = self._world.listing("artifact", ("by entity",), make)
        rows = groups.get(entity, [])[: self._limit(query, hits)]
        return self._answer({"ok": True, "artifacts": distort_rows(rows, hits)}, hits)

    def _artifact(self, request: Request, hits: Hits) -> Response:
        row = self._world.find("artifact").get(request.path_params["id"])
        if row is None:
            raise _Refusal(404, "entity_not_found", "No artifact with this id.")
        return self._answer({"ok": True, "artifact": row, "relationships": []}, hits)

    # -- what they share -------------------------------------------------------------------------------------------

    def _home(self) -> Row:
        return next(iter(self._world.find("workspace").values()))

    def _scope(self, request: Request, hits: Hits) -> str | None:
        """Return the workspace asked for, None for all that the key may see."""
        query = request.query_params
        given = {query[key] for key in ("workspace_id", "command_center_id") if query.get(key)}
        if len(given) > 1:
            raise _Refusal(400, "invalid_input", "workspace_id and command_center_id differ.")
        scope = next(iter(given), None)
        if scope is not None and scope not in self._world.find("workspace"):
            raise _Refusal(404, "entity_not_found", "No such workspace.")
        return None if "ignore_workspace" in hits else scope

    def _v1_scope(self, request: Request, hits: Hits) -> str | None:
        if not request.query_params.get("workspace_id"):
            raise _Refusal(400, "invalid_input", "workspace_id is needed.")
        return self._scope(request, hits)

    def _within(self, row: Row, scope: str | None) -> bool:
        """Rows that name no workspace belong to the first one."""
        return scope is None or scope == (row.get("workspace_id") or row.get("command_center_id") or self._home()["id"])

    def _limit(self, query: Mapping[str, str], hits: Hits) -> int:
        most = min(self._app.page_max, hits.value("clamp") or self._app.page_max)
        return 10**9 if "oversize" in hits else min(_number(query, "limit", PAGE_DEFAULT), most)

    def _cut_page(self, rows: list[Row], request: Request, hits: Hits) -> tuple[list[Row], Row]:
        """Return the rows of one page, and its ``pagination`` with the total."""
        query, limit = request.query_params, self._limit(request.query_params, hits)
        asked = _read_cursor(query["cursor"]) if "cursor" in query else _number(query, "offset", 0)
        offset = 0 if "ignore_offset" in hits else asked
        chosen = rows[offset : offset + limit]
        more = offset + limit < len(rows) or "has_more_forever" in hits
        pagination: Row = {"total": len(chosen) if "page_total" in hits else len(rows)}
        if "no_echo" not in hits:
            pagination |= {"limit": limit, "offset": asked if "ignore_offset" in hits else offset}
        pagination |= {"has_more": more, "next_cursor": _cursor(offset + limit) if more else None}
        if "no_total" in hits:
            del pagination["total"]
        if "no_has_more" in hits:
            del pagination["has_more"], pagination["next_cursor"]
        return chosen, pagination

    def _answer(self, document: Row, hits: Hits) -> Response:
        if "not_ok" in hits:
            document = {"ok": False, "error": {"code": "server_error", "message": "Try again.", "status": 200}}
        if "wrong_envelope" in hits:
            document = {"items": [], "page": 1}
        return _json(document, plain=needs_plain_json(hits))


# -- answers -------------------------------------------------------------------------------------------------------


def _json(document: Any, status: int = 200, *, plain: bool = False) -> Response:
    body = plain_json(document) if plain else orjson.dumps(document)
    return Response(body, status, media_type="application/json")


def _refusal(status: int, code: str, message: str) -> Response:
    error = {"code": code, "message": message, "status": status, "request_id": f"req_{time.monotonic_ns():x}"}
    return _json({"error": error}, status)


def _html(status: int) -> Response:
    return Response(
        f"<html><body><h1>{status}</h1>The gateway had a bad moment.</body></html>", status, media_type="text/html"
    )


def _too_many(kind: str, seconds: float) -> Response:
    response = _json({"error": "rate_limit_exceeded", "tier": "free", "retry_after_seconds": seconds}, 429)
    now = datetime.now(UTC)
    if kind == "rate_limited":
        response.headers["retry-after"] = f"{seconds:g}"
    elif kind == "rate_limited_date":
        response.headers["retry-after"] = http_date(now, seconds)
        response.headers["date"] = http_date(now, 0)
    else:
        response.headers["x-ratelimit-remaining"] = "0"
        response.headers["x-ratelimit-reset"] = str(int(time.time() + seconds + 1))
    return response


def _transport(send: Send) -> Any:
    """Return the socket behind uvicorn's ``send``: ASGI has no message for a connection that breaks."""
    return send.__self__.transport  # type: ignore[attr-defined]


def _cut(note: Send, send: Send) -> Send:
    """Return a ``send`` that closes the connection after half of the body."""

    async def cut(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            await note({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            _transport(send).close()
        else:
            await note(message)

    return cut


# -- rows ----------------------------------------------------------------------------------------------------------


def _camel(row: Row) -> Row:
    def name(key: str) -> str:
        first, *rest = key.split("_")
        return first + "".join(word.capitalize() for word in rest)

    return {name(key): value for key, value in row.items()}


def _live_initiative(row: Row) -> Row:
    shown = {key: row.get(key) for key in LIVE_INITIATIVE}
    return shown | {
        "progress": row.get("progress_pct"),
        "createdAt": row.get("created_at"),
        "updatedAt": row.get("updated_at"),
        "targetDate": row.get("target_date"),
        "dueDate": None,
        "etaEndAt": None,
        "commandCenterId": row.get("command_center_id") or row.get("workspace_id"),
    }


def _v1_decision(row: Row) -> Row:
    shown = {key: row.get(key) for key in V1_DECISION}
    status = "declined" if row["status"] == "rejected" else row["status"]
    return shown | {"status": status, "urgency": V1_URGENCY[row["urgency"]]}


def _matches(row: Row, key: str, value: str) -> bool:
    if key == "search":
        return value.lower() in str(row.get("title") or row.get("name") or "").lower()
    return str(row.get(key)) == value


def _sorted(rows: Iterable[Row], order: str, descending: bool) -> list[Row]:
    """Sort by one field, rows without it last whatever the direction, ties by id."""
    field_name = "sequence" if order == "natural" else order
    rows = sorted(rows, key=lambda row: str(row["id"]), reverse=descending)
    having = [row for row in rows if row.get(field_name) is not None]
    without = [row for row in rows if row.get(field_name) is None]
    return sorted(having, key=lambda row: row[field_name], reverse=descending) + without


# -- parameters ----------------------------------------------------------------------------------------------------


def _number(query: Mapping[str, str], key: str, default: int) -> int:
    text = query.get(key)
    if text is None:
        return default
    if not text.isdigit():
        raise _Refusal(400, "invalid_input", f"{key} must be a number.")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _Refusal(400, "invalid_input", "Not a time.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"o:{offset}".encode()).decode()


def _read_cursor(text: str | None) -> int:
    if not text:
        return 0
    try:
        return int(base64.urlsafe_b64decode(text).decode().removeprefix("o:"))
    except ValueError:
        raise _Refusal(400, "invalid_input", "Not a cursor of this list.") from None


def create_sandbox(
    world: World | None = None,
    *,
    api_key: str = DEFAULT_KEY,
    faults: Iterable[Fault] = (),
    rate_limit: RateLimit | None = None,
    page_max: int = 100,
) -> SandboxApp:
    """Build the application that serves a world.

    Args:
        world: What to serve; a small one when it is not given.
        api_key: The only key that is accepted.
        faults: What goes wrong from the start.
        rate_limit: A budget of requests, told in headers.
        page_max: Largest page.
    """
    return SandboxApp(world or World(), api_key, FaultBoard(list(faults)), rate_limit, page_max)
