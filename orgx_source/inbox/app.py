"""The HTTP endpoint for events: verifies, stores and acknowledges them. It does nothing slower than writing to disk.

401 for a wrong or missing signature, 413 above 1 MiB, 408 for an incomplete body, 400 for anything except a JSON object
with an id, 503 if the event cannot be stored; 200 once it is safely on disk.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from typing import Any, Protocol

from starlette.responses import JSONResponse, Response

from orgx_source.errors import OrgxError
from orgx_source.inbox.events import parse_event
from orgx_source.inbox.signature import HEADER, Signatures
from orgx_source.inbox.store import Inbox
from orgx_source.times import iso_utc, utc_now

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATHS = frozenset({"/", "/webhooks/orgx"})
HEALTH = "/healthz"
MAX_BODY = 1 << 20
# Total size of bodies being received.
MAX_IN_FLIGHT = 64 << 20
BODY_SECONDS = 10.0


class Worker(Protocol):
    """Consumes events from the inbox.

    Attributes:
        last_load_at: When it last loaded a batch.
        trouble: Why the last batch failed; None if it did not.
    """

    last_load_at: datetime | None
    trouble: str | None

    def start(self) -> None:
        """Start, unless started."""

    def stop(self) -> None:
        """Stop after the current batch."""


class _RefusedError(Exception):
    """The request is refused.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class InboxApp:
    """The ASGI application.

    Attributes:
        refused: Number of refused requests, by status.
    """

    def __init__(self, inbox: Inbox, signatures: Signatures, worker: Worker | None = None) -> None:
        """Prepare.

        Args:
            inbox: Stores the events.
            signatures: Verifies signatures.
            worker: Consumes the events; started with the first message of the server.
        """
        self.refused: Counter[int] = Counter()
        self._inbox = inbox
        self._signatures = signatures
        self._worker = worker
        self._in_flight = 0
        self._failing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            if self._worker is not None:
                # Some servers do not support lifespan.
                self._worker.start()
            response = await self._respond(scope, receive)
            await response(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self._worker is not None:
                    self._worker.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await asyncio.to_thread(self.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    def close(self) -> None:
        """Stop loading after the current batch, and close the inbox."""
        if self._worker is not None:
            self._worker.stop()
        self._inbox.close()

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        path, method = scope["path"], scope["method"]
        if path == HEALTH and method in ("GET", "HEAD"):
            return await asyncio.to_thread(self._health)
        if path not in PATHS and path != HEALTH:
            return _error(404, "Not found; send events to / or /webhooks/orgx.")
        if path == HEALTH or method != "POST":
            return _error(405, f"{method} is not allowed here.", allow="GET" if path == HEALTH else "POST")
        try:
            return await self._receive(scope, receive)
        except _RefusedError as refusal:
            self._count(refusal)
            return _error(refusal.status, str(refusal))

    async def _receive(self, scope: Scope, receive: Receive) -> Response:
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        body = await self._body(headers, receive)
        signed = [value for name, value in headers if name == HEADER.encode()]
        key = self._signatures.key_of(body, signed)
        if key is None:  # guard: nothing-unsigned
            raise _RefusedError(401, "The signature is missing or wrong.")
        parsed = parse_event(body)
        if parsed is None:
            raise _RefusedError(400, "The body is not a JSON object with an id.")
        try:
            is_new = await asyncio.wrap_future(self._inbox.put(parsed[0], body, key))
        except (sqlite3.Error, OSError, OrgxError) as error:
            if not self._failing:
                logger.error("events are refused with 503 because %s cannot be written: %s", self._inbox.path, error)
            self._failing = True
            raise _RefusedError(503, "The event could not be stored.") from None
        self._failing = False
        return JSONResponse({"received": True, "repeated": not is_new})

    async def _body(self, headers: list[tuple[bytes, str]], receive: Receive) -> bytes:
        """Return the whole body.

        Raises:
            _RefusedError: It is too large or too slow, or too many arrive at once.
        """
        lengths = [value for name, value in headers if name == b"content-length"]
        if any(value.isascii() and value.isdigit() and int(value[:20]) > MAX_BODY for value in lengths):
            raise _RefusedError(413, "The body is larger than 1 MiB.")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _RefusedError(400, "The connection was closed before the body was complete.")
                    part = message.get("body", b"")
                    size += len(part)
                    self._in_flight += len(part)
                    parts.append(part)
                    if size > MAX_BODY:
                        raise _RefusedError(413, "The body is larger than 1 MiB.")
                    if self._in_flight > MAX_IN_FLIGHT:
                        raise _RefusedError(503, "Too many requests at once; try again.")
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise _RefusedError(408, f"The body was not complete after {BODY_SECONDS:.0f} seconds.") from None
        finally:
            self._in_flight -= size

    def _health(self) -> Response:
        worker = self._worker
        try:
            waiting = self._inbox.waiting()
        except OrgxError as error:
            return JSONResponse({"status": "failing", "error": str(error)}, 503)
        age = None if waiting.oldest is None else round((utc_now() - waiting.oldest).total_seconds(), 3)
        last = None if worker is None or worker.last_load_at is None else iso_utc(worker.last_load_at)
        trouble = None if worker is None else worker.trouble
        status = "failing" if self._failing else "delayed" if trouble else "ok"
        document = {
            "status": status,
            "waiting": waiting.count,
            "oldest_waiting_seconds": age,
            "last_load_at": last,
            "trouble": trouble,
        }
        return JSONResponse(document, 503 if self._failing else 200)

    def _count(self, refusal: _RefusedError) -> None:
        """Count a refusal, and log it at 1, 10, 100, ..., so that a flood of requests does not flood the log."""
        self.refused[refusal.status] += 1
        count = self.refused[refusal.status]
        if refusal.status != 503 and str(count).strip("0") == "1":
            logger.warning("refused with %d: %s (%d so far)", refusal.status, refusal, count)


def _error(status: int, message: str, **headers: str) -> Response:
    # The rest of the body is not read.
    close = {"connection": "close"} if status in (408, 413) else {}
    return JSONResponse({"error": message}, status, headers={**headers, **close})
