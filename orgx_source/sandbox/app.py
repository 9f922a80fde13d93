"""OrgX's HTTP API over a `World`: paths, envelopes, errors, limits, and the active faults.

Written from what is known of OrgX's API and independently of the connector: two implementations of one contract. This
module has everything that applies to all paths; `paths` has the paths.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response

from orgx_source.sandbox.answers import json_answer, proxy_page, refusal, too_many
from orgx_source.sandbox.faults import Fault, FaultBoard, Hits, http_date
from orgx_source.sandbox.mcp_door import McpDoor
from orgx_source.sandbox.oauth import OAuth
from orgx_source.sandbox.paths import Paths
from orgx_source.sandbox.searching import Searching
from orgx_source.sandbox.world import Row, World

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Sees = Callable[[str, Row], bool]
"""Whether a key sees a row, by entity type and row."""

DEFAULT_KEY = "oxk_sandbox_" + "0" * 32
MCP_PATH = "/mcp"


@dataclass
class RateLimit:
    """A limit of requests per window, reported in ``X-RateLimit-*``.

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

    def take(self, told: float) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it is allowed, and the headers with the remaining requests.

        Args:
            told: Unix seconds of the response's ``Date``; the reset is relative to this clock.
        """
        now = self.clock()
        if now >= self.until:
            self.spent, self.until = 0, now + self.window
        allowed = self.spent < self.limit
        self.spent += allowed
        headers = {
            "x-ratelimit-tier": "free",
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.limit - self.spent),
            "x-ratelimit-reset": str(int(-(-(told + self.until - now) // 1))),
        }
        if not allowed:
            headers["retry-after"] = str(max(1, int(-(-(self.until - now) // 1))))
        return allowed, headers


@dataclass(frozen=True, slots=True)
class Seen:
    """A request received by the sandbox.

    Attributes:
        method, path: As sent.
        params: Query parameters; the last value of repeated ones.
        status: Status of the response; 0 if the connection was cut instead.
    """

    method: str
    path: str
    params: Mapping[str, str]
    status: int


@dataclass
class SandboxApp:
    """An ASGI application: what applies to every request, and the paths.

    Attributes:
        world: The world to serve.
        api_key: The key that can see everything.
        board: The active faults.
        rate_limit: None for a server that reports no limit.
        page_max: Maximum page size; larger limits are reduced silently.
        seen: Every request, in order.
        other_keys: Further valid keys, each with the rows it can see. A key resolves to the first workspace it can see.
    """

    world: World
    api_key: str = DEFAULT_KEY
    board: FaultBoard = field(default_factory=lambda: FaultBoard([]))
    rate_limit: RateLimit | None = None
    page_max: int = 100
    seen: list[Seen] = field(default_factory=list)
    other_keys: dict[str, Sees] = field(default_factory=dict)

    def __post_init__(self) -> None:
        searching = Searching(self)
        self.oauth = OAuth(self)
        self.mcp = McpDoor(self, searching)
        doors = [*self.mcp.routes(), *self.oauth.routes()]
        # These need no key: the checks before REST paths do not apply to them.
        self._keyless = frozenset(route.path for route in doors)
        self._paths = Starlette(
            routes=[*doors, *Paths(self).routes()],
            middleware=[Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] != "http":
            await self._paths(scope, receive, send)
            return
        params = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        path, counted = scope["path"], False
        if path == MCP_PATH and scope["method"] == "POST":
            receive, params = await _look_into(receive, params)
        hits = self.board.match(path, params.get("type"))
        extra: dict[str, str] = {}

        async def note(message: MutableMapping[str, Any]) -> None:
            nonlocal counted
            if message["type"] == "http.response.start":
                # Before the first byte: a client that has the response finds its request counted.
                self.seen.append(Seen(scope["method"], path, params, message["status"]))
                counted = True
                if "no_date" not in hits and not any(name == b"date" for name, _ in message["headers"]):
                    extra["date"] = http_date(self.world.now, hits.seconds("date_off"))
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
            if not counted:
                self.seen.append(Seen(scope["method"], path, params, 0))

    def shown(self, scope: Scope, hits: Hits) -> World:
        """Return the world for a request: the current one, an older one, or the part that its key can see."""
        world, key = self.world, key_of(scope)
        if seconds := hits.seconds("stale"):
            world = world.at(world.now - timedelta(seconds=seconds))
        return world.seen_by(self.other_keys[key]) if key in self.other_keys else world

    def _refuse(self, scope: Scope, hits: Hits, extra: dict[str, str]) -> Response | None:
        """Return the response to a request that fails before it reaches its path."""
        if "redirect" in hits:
            return Response(status_code=307, headers={"location": hits.value("redirect") + scope["path"]})
        if "status" in hits:
            return refusal(hits.value("status"), "server_error", "Injected by a fault.")
        if "status_html" in hits:
            return proxy_page(hits.value("status_html"))
        if "html" in hits:
            return proxy_page(200)
        for kind in ("rate_limited", "rate_limited_date", "rate_limited_reset"):
            if kind in hits:
                return too_many(kind, hits.value(kind))
        if scope["path"] in self._keyless:
            return None
        if key_of(scope) not in {self.api_key, *self.other_keys}:
            return json_answer({"error": "Unauthorized", "message": "A valid API key is required."}, 401)
        if "refuse" in hits and hits.value("refuse") in parse_qs(scope["query_string"].decode("latin-1")):
            return refusal(400, "invalid_input", f"{hits.value('refuse')} is not supported.")
        if "closed" in hits:
            if hits.value("closed") == 401:
                return json_answer({"error": "Unauthorized", "message": "A valid API key is required."}, 401)
            code = {403: "permission_denied", 404: "entity_not_found"}.get(hits.value("closed"), "invalid_input")
            return refusal(hits.value("closed"), code, "This path is closed.")
        if self.rate_limit is not None:
            allowed, headers = self.rate_limit.take(self.world.now.timestamp())
            extra |= headers
            if not allowed:
                body = {"error": "rate_limit_exceeded", "tier": "free", "retry_after_seconds": headers["retry-after"]}
                return json_answer(body, 429)
        return None


async def _look_into(receive: Receive, params: dict[str, str]) -> tuple[Receive, dict[str, str]]:
    """Return a ``receive`` that replays a body, and the request's parameters: faults may apply to one tool.

    The parameters gain ``rpc`` (the method), ``tool``, and the tool's arguments.
    """
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)

    async def again() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        document = orjson.loads(body)
        asked = document["params"] if document["method"] == "tools/call" else {}
    except (ValueError, TypeError, KeyError):
        return again, params
    arguments = {key: str(value) for key, value in (asked.get("arguments") or {}).items()}
    return again, {**params, "rpc": document["method"], "tool": str(asked.get("name", "")), **arguments}


def key_of(scope: Scope) -> str:
    """Return the key of a request; empty if it has none."""
    return Headers(scope=scope).get("authorization", "").removeprefix("Bearer ")


def _transport(send: Send) -> Any:
    """Return the socket behind uvicorn's ``send``: ASGI has no message for a broken connection."""
    connection: Any = send
    return connection.__self__.transport


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


def create_sandbox(
    world: World | None = None,
    *,
    api_key: str = DEFAULT_KEY,
    faults: Iterable[Fault] = (),
    rate_limit: RateLimit | None = None,
    page_max: int = 100,
    other_keys: Mapping[str, Sees] | None = None,
) -> SandboxApp:
    """Build the application that serves a world.

    Args:
        world: The world to serve; by default a small one.
        api_key: The key that can see everything.
        faults: Faults that are active from the start.
        rate_limit: A limit of requests, reported in headers.
        page_max: Maximum page size.
        other_keys: Further keys, each with the rows it can see.
    """
    board = FaultBoard(list(faults))
    return SandboxApp(world or World(), api_key, board, rate_limit, page_max, other_keys=dict(other_keys or {}))
