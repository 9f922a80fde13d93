"""The sandbox without a network: httpx calls the application itself, in its own thread."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import httpx

from orgx_source.sandbox.app import SandboxApp

Asked = Callable[[str, dict[str, str]], None]
Answered = Callable[[str, dict[str, str], int, bytes], None]


class _Connection:
    """The application's view of a connection: where it sends its response, and how it closes it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.broken = False
        self.transport = self

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")

    async def receive(self) -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    def abort(self) -> None:
        self.broken = True

    close = abort


class InProcess(httpx.BaseTransport):
    """Transport over a sandbox; its coroutines never wait, so each is run to its end without an event loop."""

    def __init__(self, app: SandboxApp, asked: Asked, answered: Answered) -> None:
        """Prepare; sends nothing.

        Args:
            app: The sandbox.
            asked: Called with path and parameters before each request; may raise.
            answered: Called with path, parameters, status and body after each response.
        """
        self._app, self._asked, self._answered = app, asked, answered

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        params = {key: values[-1] for key, values in parse_qs(request.url.query.decode()).items()}
        self._asked(path, params)
        connection = _Connection()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": path,
            "raw_path": request.url.raw_path,
            "query_string": request.url.query,
            "root_path": "",
            # Compressing a body that is not sent takes time.
            "headers": [(k.lower(), v) for k, v in request.headers.raw if k.lower() != b"accept-encoding"],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        answer: Any = self._app(scope, connection.receive, connection.send)
        try:
            answer.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("the sandbox waits for something, which requires a network")
        if connection.broken:
            raise httpx.RemoteProtocolError("the connection was closed", request=request)
        self._answered(path, params, connection.status, connection.body)
        return httpx.Response(
            connection.status, headers=connection.headers, stream=httpx.ByteStream(connection.body), request=request
        )
