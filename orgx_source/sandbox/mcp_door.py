"""OrgX's MCP endpoint over a `World`: Streamable HTTP without an SDK, sessions, two tool catalogs, search, limits.

Written from what is known of the protocol, independently of the SDK that reads it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orgx_source.sandbox.answers import RefusalError, json_answer, proxy_page
from orgx_source.sandbox.faults import Hits, plain_json
from orgx_source.sandbox.oauth import Access
from orgx_source.sandbox.searching import Searching
from orgx_source.sandbox.world import ENTITIES, Row

if TYPE_CHECKING:
    from orgx_source.sandbox.app import SandboxApp

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", "2024-10-07")
MAX_BODY = 4 * 1024 * 1024
SEARCH_DEFAULT = 20
SEARCH_MOST = 100
# Types accepted by the search, and their types in the world.
SEARCHED = {kind: kind for kind in ENTITIES} | {"workspace": "workspace", "command_center": "workspace"}
SEARCH_ARGUMENTS = {
    "query": "string", "type": "string", "status": "string", "initiative_id": "string", "workspace_id": "string",
    "limit": "integer", "offset": "integer", "cursor": "string", "fields": "array", "created_from": "string",
    "created_to": "string", "session_id": "string", "_context": "object",
}  # fmt: skip
# Tool to its required scope; the newer catalog lacks orgx_decide, the older one the list of pending decisions.
NEW_CATALOG = {
    "orgx_search": "initiatives:read",
    "orgx_inspect": "initiatives:read",
    "orgx_get_workspace_context": "initiatives:read",
    "orgx_list_pending_decisions": "decisions:read",
}
OLD_CATALOG = {
    "orgx_bootstrap": "initiatives:read",
    "orgx_search": "initiatives:read",
    "orgx_inspect": "initiatives:read",
    "orgx_decide": "decisions:read",
}


@dataclass
class Limiter:
    """Limits requests per token in a sliding hour; refused requests do not count.

    Attributes:
        limit: Requests per hour and token; None for an endpoint that reports no limit.
        clock: Unix seconds.
    """

    limit: int | None = 100
    clock: Callable[[], float] = time.time
    _passed: dict[str, list[float]] = field(default_factory=dict)

    def take(self, token: str) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it is allowed, and the headers with the remaining requests."""
        if self.limit is None:
            return True, {}
        now, key = self.clock(), hashlib.sha256(token.encode()).hexdigest()
        passed = [moment for moment in self._passed.get(key, ()) if moment > now - 3600]
        allowed = len(passed) < self.limit
        if allowed:
            passed.append(now)
        self._passed[key] = passed
        headers = {
            "x-ratelimit-tier": "free",
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.limit - len(passed)),
            "x-ratelimit-reset": str(int(passed[0] + 3600) if passed else int(now + 3600)),
            "x-ratelimit-source": "memory",
            "x-orgx-rate-limit-strategy": "base_allowance" if allowed else "free_limit",
        }
        if not allowed:
            headers["retry-after"] = str(max(1, int(passed[0] + 3600 - now)))
        return allowed, headers


@dataclass
class _Session:
    token_scopes: tuple[str, ...]
    catalog: str
    welcomed: bool = False


class _RpcError(Exception):
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class McpDoor:
    """The MCP endpoint: handles a request to ``/mcp`` in the same order as OrgX's edge.

    Attributes:
        limiter: The limit of requests.
        sessions: Session id to the session's settings.
    """

    def __init__(self, app: SandboxApp, searching: Searching) -> None:
        self._app = app
        self._searching = searching
        self.limiter = Limiter()
        self.sessions: dict[str, _Session] = {}

    def routes(self) -> list[Route]:
        """Return the endpoint's paths."""
        methods = ["GET", "POST", "DELETE", "OPTIONS"]
        return [Route("/mcp", self._serve, methods=methods), Route("/healthz", self._health, methods=["GET"])]

    async def _health(self, request: Request) -> Response:
        return Response("ok", media_type="text/plain")

    async def _serve(self, request: Request) -> Response:
        hits: Hits = request.state.hits
        if request.method == "OPTIONS":
            return Response(status_code=204)
        if "origin" in request.headers and request.headers["origin"] != f"http://{request.url.netloc}":
            refused = _rpc_answer(None, -32000, "Invalid origin", 403, {"code": "invalid_origin"})
            refused.headers["x-orgx-mcp-error-code"] = "invalid_origin"
            return refused
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        access = self._app.oauth.accept(token)
        if access is None:
            return self._challenge(request, given=bool(token))
        allowed, headers = self.limiter.take(token)
        if not allowed:
            seconds = int(headers["retry-after"])
            cta = {"target_plan": "pro", "message": "More requests with pro.", "url": "https://useorgx.com/pricing"}
            body = {
                "error": "Rate limit exceeded",
                "tier": "free",
                "retry_after_seconds": seconds,
                "upgrade_cta": cta | {"billing_settings_url": "https://useorgx.com/settings/billing"},
            }
            response = json_answer(body, 429)
        else:
            response = await self._answer(request, hits, access)
        response.headers.update(headers)
        return response

    def _challenge(self, request: Request, *, given: bool) -> Response:
        document = f"http://{request.url.netloc}/.well-known/oauth-protected-resource/mcp"
        challenge = f'Bearer realm="OAuth", resource_metadata="{document}"'
        if not given:
            return Response(b"", 401, {"www-authenticate": challenge})
        said = {"error": "invalid_token", "error_description": "Invalid access token"}
        response = json_answer(said, 401)
        response.headers["www-authenticate"] = (
            f'{challenge}, error="invalid_token", error_description="Invalid access token"'
        )
        return response

    async def _answer(self, request: Request, hits: Hits, access: Access) -> Response:
        session_id = request.headers.get("mcp-session-id")
        if "lost_session" in hits and session_id:
            self.sessions.pop(session_id, None)
        if request.method == "DELETE":
            found = self.sessions.pop(session_id or "", None)
            return Response(status_code=204) if found else _rpc_answer(None, -32001, "Session not found", 404)
        accept = request.headers.get("accept", "")
        if "text/event-stream" not in accept or (request.method == "POST" and "application/json" not in accept):
            return _rpc_answer(None, -32000, "Not Acceptable: Client must accept both", 406)
        if request.method == "GET":
            if not session_id:
                return _rpc_answer(None, -32000, "Bad Request: Mcp-Session-Id header is required", 400)
            status = 405 if session_id in self.sessions else 404
            return _rpc_answer(None, -32001, "Session not found" if status == 404 else "No stream here", status)
        if "application/json" not in request.headers.get("content-type", ""):
            return _rpc_answer(None, -32000, "Unsupported Media Type: Content-Type must be application/json", 415)
        body = await request.body()
        if len(body) > MAX_BODY:
            return _rpc_answer(None, -32000, "Request body too large", 413)
        try:
            said = json.loads(body)
        except ValueError:
            return _rpc_answer(None, -32700, "Parse error: Invalid JSON", 400)
        messages = said if isinstance(said, list) else [said]
        if not all(isinstance(message, dict) and message.get("jsonrpc") == "2.0" for message in messages):
            return _rpc_answer(None, -32700, "Parse error: Invalid JSON-RPC message", 400)
        return self._answer_messages(messages, session_id, hits, access)

    def _answer_messages(
        self, messages: list[dict[str, Any]], session_id: str | None, hits: Hits, access: Access
    ) -> Response:
        headers: dict[str, str] = {}
        if any(message.get("method") == "initialize" for message in messages):
            if session_id or len(messages) > 1:
                return _rpc_answer(None, -32600, "Invalid Request: Server already initialized", 400)
            session_id = secrets.token_hex(32)
            catalog = "old" if "old_catalog" in hits else "new"
            self.sessions[session_id] = _Session(access.scopes, catalog)
            headers["mcp-session-id"] = session_id
        elif not session_id:
            return _rpc_answer(None, -32000, "Bad Request: Mcp-Session-Id header is required", 400)
        session = self.sessions.get(session_id)
        if session is None:
            return _rpc_answer(None, -32001, "Session not found", 404)
        if session.token_scopes != access.scopes:
            conflict = "Session conflict: reconnect without a session id"
            return _rpc_answer(None, -32000, conflict, 409, {"code": "session_conflict"})
        requests = [message for message in messages if "id" in message and "method" in message]
        if not requests:
            return Response(status_code=202)
        if "transport_exception" in hits:
            headers |= {"x-orgx-mcp-error-code": "mcp_transport_exception", "x-orgx-retryable": "true"}
        answers = [self._one(message, session, hits) for message in requests]
        return _send(answers, headers, hits)

    def _one(self, message: Mapping[str, Any], session: _Session, hits: Hits) -> dict[str, Any]:
        try:
            result = self._call(message["method"], message.get("params") or {}, session, hits)
        except _RpcError as error:
            said: dict[str, Any] = {"code": error.code, "message": error.message}
            if error.data is not None:
                said["data"] = error.data
            return {"jsonrpc": "2.0", "id": message["id"], "error": said}
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}

    def _call(self, method: str, params: Mapping[str, Any], session: _Session, hits: Hits) -> dict[str, Any]:
        if "transport_exception" in hits:
            data = {
                "code": "mcp_transport_exception",
                "error_kind": "TypeError",
                "stage": "handler",
                "retryable": True,
                "health_check_url": "/healthz",
                "next_steps": ["Try again."],
            }
            raise _RpcError(-32603, "Internal error", data)
        if method == "initialize":
            asked = params.get("protocolVersion")
            listed = {"listChanged": True}
            return {
                "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
                "capabilities": {"tools": listed, "resources": listed, "prompts": listed},
                "serverInfo": {"name": "orgx-mcp", "title": "OrgX", "version": f"0.3.0-{_digest(session.catalog)}"},
            }
        if method == "ping":
            return {}
        if method == "tools/list":
            return {"tools": [_describe(name, scope) for name, scope in _catalog(session, hits).items()]}
        if method == "tools/call":
            return self._call_tool(str(params.get("name")), params.get("arguments") or {}, session, hits)
        raise _RpcError(-32601, "Method not found")

    # -- tools -----------------------------------------------------------------------------------------------------

    def _call_tool(self, name: str, arguments: Mapping[str, Any], session: _Session, hits: Hits) -> dict[str, Any]:
        if "tool_text_error" in hits or name not in _catalog(session, hits):
            return _text_error(f"MCP error -32602: Tool {name} not found")
        if "upstream_unavailable" in hits:
            return _tool_error("upstream_unavailable", 503, "Upstream is not available", {"retryable": True})
        try:
            if name == "orgx_search":
                result = self._search(arguments, session, hits)
            elif name in ("orgx_list_pending_decisions", "orgx_decide"):
                result = self._pending(arguments, session)
            elif name == "orgx_inspect":
                result = self._inspect(arguments)
            else:
                result = {"ok": True, "workspace": self._searching.home()}
        except RefusalError as refused:
            return _tool_error(refused.code, refused.status, refused.message, {"retryable": False})
        except _ScopeError as missing:
            return missing.answer(session.token_scopes)
        text = f"{result.get('count', len(result))} {result.get('type', 'rows')}s"
        content = [{"type": "text", "text": text}]
        if not session.welcomed:
            session.welcomed = True
            content.insert(0, {"type": "text", "text": "Welcome to OrgX. Ask for anything."})
        return {"content": content, "structuredContent": result}

    def _search(self, arguments: Mapping[str, Any], session: _Session, hits: Hits) -> dict[str, Any]:
        for name, value in arguments.items():
            if not _fits(SEARCH_ARGUMENTS.get(name), value):
                raise RefusalError(400, "invalid_input", f"{name} is not valid.")
        kind = arguments.get("type")
        if kind is None:
            return self._mixed(arguments)
        if kind not in SEARCHED:
            raise RefusalError(400, "invalid_input", f"type must be one of {', '.join(SEARCHED)}.")
        needed = "decisions:read" if kind == "decision" else "initiatives:read"
        if needed not in session.token_scopes:
            raise _ScopeError(needed)
        limit = arguments.get("limit", SEARCH_DEFAULT)
        if not 1 <= limit <= SEARCH_MOST:
            raise RefusalError(400, "invalid_input", "limit must be from 1 to 100.")
        if "offset" in arguments and "cursor" in arguments:
            raise RefusalError(400, "invalid_input", "offset and cursor exclude each other.")
        return self._searching.search(SEARCHED[str(kind)], str(kind), arguments, hits)

    def _mixed(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if not arguments.get("query"):
            raise RefusalError(400, "invalid_input", "query is required without a type.")
        limit = min(20, int(arguments.get("limit", SEARCH_DEFAULT)))
        rows = self._searching.recall(str(arguments["query"]), "all")[:limit]
        pagination = {
            "mode": "relevance_window", "total": None, "limit": limit, "offset": 0, "returned": len(rows),
            "has_more": False, "next_offset": None, "next_cursor": None, "previous_cursor": None, "exhaustive": False,
        }  # fmt: skip
        return {
            "_v2_tool": "orgx_search",
            "search_mode": "mixed",
            "query": arguments["query"],
            "count": len(rows),
            "results": rows,
            "pagination": pagination,
        }

    def _pending(self, arguments: Mapping[str, Any], session: _Session) -> dict[str, Any]:
        if "decisions:read" not in session.token_scopes:
            raise _ScopeError("decisions:read")
        rows = [row for row in self._searching.rows("decision") if row["status"] == "pending"]
        scope = {"level": "workspace", "unit": "review_packet", "total": len(rows), "capped": False}
        return {
            "decisions": rows[: int(arguments.get("limit", 50))],
            "total_pending": len(rows),
            "pending_decisions_scope": scope,
            "message": f"{len(rows)} waiting",
        }

    def _inspect(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        kind = SEARCHED.get(str(arguments.get("type")))
        row = (
            next((row for row in self._searching.rows(kind) if row["id"] == arguments.get("id")), None)
            if kind
            else None
        )
        if row is None:
            raise RefusalError(404, "entity_not_found", "Entity not found.")
        return {"entity": row}


class _ScopeError(Exception):
    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope

    def answer(self, granted: tuple[str, ...]) -> dict[str, Any]:
        details = {"required_scopes": [self.scope], "granted_scopes": list(granted)}
        answer = _tool_error("permission_denied", 401, f"Missing scope {self.scope}", details)
        challenge = f'Bearer error="insufficient_scope", scope="{self.scope}"'
        return answer | {"_meta": {"mcp/www_authenticate": [challenge]}}


def _catalog(session: _Session, hits: Hits) -> dict[str, str]:
    catalog = OLD_CATALOG if session.catalog == "old" else NEW_CATALOG
    hidden = {"orgx_search"} if "no_search" in hits else set()
    return {name: scope for name, scope in catalog.items() if scope in session.token_scopes and name not in hidden}


def _describe(name: str, scope: str) -> dict[str, Any]:
    arguments = SEARCH_ARGUMENTS if name == "orgx_search" else {"id": "string", "type": "string", "limit": "integer"}
    outputs = ("ok", "results", "pagination", "decisions", "entity", "error", "tool_id", "error_type", "type")
    more = ("_v2_tool", "search_mode", "query", "count", "next_call", "total_pending", "message", "workspace")
    return {
        "name": name,
        "title": name.replace("_", " ").title(),
        "description": f"OrgX: {name}.",
        "inputSchema": {"type": "object", "properties": {key: {"type": kind} for key, kind in arguments.items()}},
        "outputSchema": {
            "type": "object",
            "properties": {key: {} for key in (*outputs, *more, "pending_decisions_scope")},
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": name != "orgx_decide", "destructiveHint": False, "openWorldHint": False},
        "_meta": {"securitySchemes": [{"type": "oauth2", "scopes": [scope]}]},
    }


def _fits(kind: str | None, value: Any) -> bool:
    types = {"string": str, "integer": int, "array": list, "object": dict}
    return kind in types and isinstance(value, types[kind]) and not isinstance(value, bool)


def _digest(catalog: str) -> str:
    return hashlib.sha256(catalog.encode()).hexdigest()[:8]


def _text_error(text: str) -> dict[str, Any]:
    return {"isError": True, "content": [{"type": "text", "text": text}]}


def _tool_error(code: str, status: int, message: str, details: dict[str, Any]) -> dict[str, Any]:
    error = {"code": code, "status": status, "message": message, "details": details}
    return {
        "isError": True,
        "content": [{"type": "text", "text": message}],
        "structuredContent": {"ok": False, "error": error},
    }


def _rpc_answer(message_id: Any, code: int, text: str, status: int, data: Any = None) -> Response:
    error: dict[str, Any] = {"code": code, "message": text}
    if data is not None:
        error["data"] = data
    return json_answer({"jsonrpc": "2.0", "error": error, "id": message_id}, status)


def _send(answers: list[Row], headers: dict[str, str], hits: Hits) -> Response:
    if "html" in hits:
        return proxy_page(200)
    bodies = [plain_json(answer) for answer in answers]
    if "json_answers" in hits:
        body = bodies[0] if len(bodies) == 1 else b"[" + b",".join(bodies) + b"]"
        return Response(body, 200, headers, media_type="application/json")
    frames = b"".join(b"event: message\ndata: " + body + b"\n\n" for body in bodies)
    if "cut_stream" in hits:
        frames = frames[: len(frames) // 2]
    return Response(frames, 200, headers, media_type="text/event-stream")
