"""One MCP session with the official SDK, in its own thread with an event loop; imported on demand.

The SDK receives every response complete and sanitised, and sends only what was requested: no stream for server
messages, which would cost requests and bring a reader nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
import httpx2
import mcp_types as types
from mcp import ClientSession, MCPError
from mcp.client.streamable_http import streamable_http_client
from pydantic import ValidationError

from orgx_source.api.envelope import parse_json
from orgx_source.api.mcp import Outcome, Tool
from orgx_source.config import is_loopback
from orgx_source.version import __version__
from orgx_source.web.body import CODINGS, BodyTooLargeError, unpack

logger = logging.getLogger(__name__)

# OrgX gives the servers behind its MCP endpoint 30 s.
TIMEOUT = httpx2.Timeout(45.0, connect=10.0, pool=None)
CALL_SECONDS = 60.0
END_SECONDS = 5.0
CLOSED = "closed the session"
SESSION_HEADER = "mcp-session-id"
# These headers describe the original bytes; the body passed on is decompressed.
_OF_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding"})

T = TypeVar("T")


class _Exchange:
    """One request: its token, and the last response."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.outcome = Outcome()
        self.structured: Any = None


_current: ContextVar[_Exchange] = ContextVar("exchange")


class _Wire(httpx2.AsyncClient):
    """Sends the SDK's requests with the caller's token, and keeps the responses.

    Attributes:
        max_bytes: Maximum size of one decompressed response.
        session_id: The session that the server has named.
    """

    max_bytes = 0
    session_id: str | None = None

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(405, request=request)
        exchange = _current.get()
        request.headers["authorization"] = f"Bearer {exchange.token}"
        try:
            async with self._stream(request, options) as response:
                body = unpack(
                    await _collect(response, self.max_bytes),
                    response.headers.get("content-encoding", ""),
                    self.max_bytes,
                )
        except (httpx2.HTTPError, BodyTooLargeError, ValueError) as error:
            too_large = isinstance(error, BodyTooLargeError)
            exchange.outcome = Outcome(trouble=_what_happened(error), is_too_large=too_large)
            return httpx2.Response(503, request=request)
        body = body.replace(exchange.token.encode(), b"***")
        headers = {name: value for name, value in response.headers.items() if name not in _OF_THE_WIRE}
        self.session_id = headers.get(SESSION_HEADER, self.session_id)
        if not (exchange.outcome.status >= 400 or exchange.outcome.trouble):
            exchange.outcome = Outcome(response.status_code, headers, body)
        if response.status_code < 400:
            body = _made_safe(body, exchange)
            if body[:1] in (b"{", b"["):
                headers["content-type"] = "application/json"
        return httpx2.Response(response.status_code, headers=headers, content=body, request=request)

    @asynccontextmanager
    async def _stream(self, request: httpx2.Request, options: Mapping[str, Any]) -> AsyncIterator[httpx2.Response]:
        response = await super().send(request, **{**options, "stream": True})
        try:
            yield response
        finally:
            await response.aclose()


async def _collect(response: httpx2.Response, most: int) -> bytes:
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > most:  # guard: size-of-an-mcp-response
            raise BodyTooLargeError
    return bytes(body)


def _what_happened(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "did not answer in time"
    if isinstance(error, BodyTooLargeError):
        return "returned more than the size limit"
    if isinstance(error, ValueError):
        return f"returned a body that {error}"
    if isinstance(error, httpx2.ConnectError):
        return f"could not be reached ({error})"
    return f"closed the connection ({type(error).__name__})"


def _made_safe(body: bytes, exchange: _Exchange) -> bytes:
    """Return a response that any parser accepts; the tool's result, however deep or unusual, is kept separately."""
    if body.lstrip()[:1] in (b"{", b"["):
        return _safe_json(body, exchange)
    lines = [
        b"data: " + _safe_json(line[5:].strip(), exchange) if line.startswith(b"data:") else line
        for line in body.splitlines()
    ]
    return b"\n".join(lines) + b"\n\n"


def _safe_json(text: bytes, exchange: _Exchange) -> bytes:
    try:
        message = parse_json(text)
    except ValueError:
        return text
    result = message.get("result") if isinstance(message, dict) else None
    if isinstance(result, dict) and isinstance(result.get("structuredContent"), dict):
        exchange.structured, result["structuredContent"] = result["structuredContent"], {}
    return json.dumps(message).encode()


class SdkSession:
    """One session; see `orgx_source.api.mcp.Session`."""

    def __init__(self, url: str, max_bytes: int) -> None:
        """Start the thread; sends nothing.

        Args:
            url: URL of the endpoint.
            max_bytes: Maximum size of one decompressed response.
        """
        self._url = url
        self._max_bytes = max_bytes
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._leave = asyncio.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._wire: _Wire
        self._session: ClientSession
        self._thread = threading.Thread(target=self._run, name="orgx-mcp", daemon=True)
        self._thread.start()
        self._ready.wait()

    def open(self, token: str) -> tuple[Outcome, list[Tool]]:
        """Initialize and list the tools."""
        return self._wait(self._open(token)) or (Outcome(trouble=CLOSED), [])

    def call(self, token: str, tool: str, arguments: Mapping[str, Any]) -> Outcome:
        """Call a tool."""
        return self._wait(self._call(token, tool, dict(arguments))) or Outcome(trouble=CLOSED)

    def close(self, token: str | None) -> None:
        """End the session, if a token is given, and the thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._end(token), self._loop).result(END_SECONDS)
        self._thread.join(END_SECONDS)

    # -- on the thread of its own ----------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        except Exception:
            # The SDK logs responses that arrive after the session was closed.
            logger.info("an MCP session ended", exc_info=True)
        finally:
            self._ready.set()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.close()

    async def _live(self) -> None:
        client = types.Implementation(name="orgx-source", version=__version__)
        headers = {"user-agent": f"orgx-source/{__version__}", "accept-encoding": CODINGS}
        # A proxy of the environment must not see a token for this machine.
        is_local = is_loopback(urlsplit(self._url).hostname or "")
        mounts = dict.fromkeys(("http://", "https://", "all://")) if is_local else None
        async with (
            _Wire(timeout=TIMEOUT, headers=headers, mounts=mounts) as self._wire,
            streamable_http_client(
                self._url, http_client=self._wire, terminate_on_close=False, max_sse_event_size=None
            ) as (incoming, outgoing),
            ClientSession(incoming, outgoing, read_timeout_seconds=CALL_SECONDS, client_info=client) as self._session,
        ):
            self._wire.max_bytes = self._max_bytes
            self._ready.set()
            await self._leave.wait()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of the work; None if another thread closed the lost session meanwhile."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * CALL_SECONDS)
        except (RuntimeError, CancelledError, TimeoutError):
            work.close()
            return None

    async def _open(self, token: str) -> tuple[Outcome, list[Tool]]:
        exchange = _Exchange(token)
        _current.set(exchange)
        listed: list[Tool] = []

        async def ask() -> None:
            await self._session.initialize()
            result = await self._session.send_request(types.ListToolsRequest(), types.ListToolsResult)
            listed.extend(
                Tool(tool.name, frozenset((tool.input_schema or {}).get("properties") or ())) for tool in result.tools
            )

        await _filled(exchange, ask())
        return exchange.outcome, listed

    async def _call(self, token: str, tool: str, arguments: dict[str, Any]) -> Outcome:
        exchange = _Exchange(token)
        _current.set(exchange)
        asked = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))

        async def ask() -> None:
            result = await self._session.send_request(asked, types.CallToolResult)
            outcome = exchange.outcome
            outcome.is_error, outcome.structured = bool(result.is_error), exchange.structured
            outcome.text = " ".join(block.text for block in result.content if isinstance(block, types.TextContent))
            outcome.meta = dict(result.meta or {})

        await _filled(exchange, ask())
        return exchange.outcome

    async def _end(self, token: str | None) -> None:
        try:
            if token is not None and self._wire.session_id:
                _current.set(_Exchange(token))
                with suppress(Exception):
                    await self._wire.delete(self._url, headers={SESSION_HEADER: self._wire.session_id})
        finally:
            self._leave.set()


async def _filled(exchange: _Exchange, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, and record SDK errors about invalid responses in the outcome."""
    try:
        await work
    except MCPError as error:
        exchange.outcome.rpc_error = (error.code, error.message, error.data)
    except (ValidationError, RuntimeError) as error:
        exchange.outcome.rpc_error = (-32700, " ".join(str(error).split())[:200], None)
    except (anyio.ClosedResourceError, anyio.BrokenResourceError):
        exchange.outcome = Outcome(trouble=CLOSED)
