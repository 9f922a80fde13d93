"""The sandbox's own count of requests, which tests compare with what a run says that it spent."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from orgx_source.sandbox import World
from orgx_source.sandbox.app import DEFAULT_KEY, SandboxApp


@pytest.mark.parametrize(("key", "status"), [("oxk_wrong", 401), (DEFAULT_KEY, 404)])
def test_whoever_has_the_answer_finds_the_request_counted(key: str, status: int) -> None:
    app = SandboxApp(World("small"))
    counted: list[int] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        counted.append(len(app.seen))

    headers = [(b"authorization", f"Bearer {key}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/api/nothing", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send))
    assert set(counted) == {1}
    assert [(seen.path, seen.status) for seen in app.seen] == [("/api/nothing", status)]
