"""OrgX's HTTP face over a `World`: paths, envelopes, errors, limits, and the faults that are switched on.

Written from what is known of OrgX's API, without a line of the reader it serves: two readings of one contract. What
stands before every path is here; `paths` has the paths.
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

    def take(self, told: float) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it may pass, and the headers that say what is left.

        Args:
            told: Unix seconds of the answer's ``Date``, whose clock the reset follows.
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


@dataclass
class SandboxApp:
    """An ASGI application: what stands before every path, with the paths behind it.

    Attributes:
        world: What is served.
        api_key: The key that sees everything.
        board: The faults that are switched on.
        rate_limit: None for a server that names no limit.
        page_max: Largest page; larger limits are clamped without a word.
        seen: Every request, in order.
        other_keys: Further keys that are accepted, each with what it sees. The first workspace that it sees is the one
            it resolves to.
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
        # These know no key: what stands before every path of REST does not stand before them.
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
                # Before the first byte: whoever has the answer finds the request counted.
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
        """Return what a request is answered from: the world, an older one, or what its key sees of it."""
        world, key = self.world, key_of(scope)
        if seconds := hits.seconds("stale"):
            world = world.at(world.now - timedelta(seconds=seconds))
        return world.seen_by(self.other_keys[key]) if key in self.other_keys else world

    def _refuse(self, scope: Scope, hits: Hits, extra: dict[str, str]) -> Response | None:
        """Return the answer for a request that does not get as far as its path."""
        if "redirect" in hits:
            return Response(status_code=307, headers={"location": hits.value("redirect") + scope["path"]})
        if "status" in hits:
            return refusal(hits.value("status"), "server_error", "This was switched on.")
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
            return json_answer({"error": "Unauthorized", "message": "A valid API key is needed."}, 401)
        if "refuse" in hits and hits.value("refuse") in parse_qs(scope["query_string"].decode("latin-1")):
            return refusal(400, "invalid_input", f"{hits.value('refuse')} is not supported.")
        if "closed" in hits:
            if hits.value("closed") == 401:
                return json_answer({"error": "Unauthorized", "message": "A valid API key is needed."}, 401)
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
    """Return a ``receive`` that gives a body again, and the parameters with what it asks: faults may be for one tool.

    To them come ``rpc`` (the method), ``tool``, and the tool's arguments.
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
    """Return the key that a request came with; empty when it has none."""
    return Headers(scope=scope).get("authorization", "").removeprefix("Bearer ")


def _transport(send: Send) -> Any:
    """Return the socket behind uvicorn's ``send``: ASGI has no message for a connection that breaks."""
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
        world: What to serve; a small one when it is not given.
        api_key: The key that sees everything.
        faults: What goes wrong from the start.
        rate_limit: A budget of requests, told in headers.
        page_max: Largest page.
        other_keys: Further keys, each with what it sees.
    """
    board = FaultBoard(list(faults))
    return SandboxApp(world or World(), api_key, board, rate_limit, page_max, other_keys=dict(other_keys or {}))
