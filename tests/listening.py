"""Events: signed bodies, the application without a server, and the command with one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orgx_source.inbox.app import InboxApp
from orgx_source.inbox.batch import BatchLoader
from orgx_source.inbox.service import Drain
from orgx_source.inbox.signature import Signatures, sign
from orgx_source.inbox.store import Inbox
from orgx_source.sandbox import Sandbox
from orgx_source.times import iso_utc, utc_now
from orgx_source.warehouse.target import Target
from tests import running

SECRET = "whsec_for_tests"


def event(event_id: str, kind: str = "decision.created", row_id: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an event in the documented format."""
    data = {} if row_id is None else {"id": row_id}
    return {"id": event_id, "type": kind, "created": iso_utc(utc_now()), "workspace_id": "w", "data": data, **more}


def body_of(content: Any) -> bytes:
    return json.dumps(content).encode()


def call(
    app: InboxApp, body: bytes | Sequence[bytes], headers: Iterable[tuple[str, str]], path: str = "/"
) -> tuple[int, Any]:
    """Send one request to the application; return the status and the parsed response."""
    parts = [body] if isinstance(body, bytes) else list(body)
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)} for number, part in enumerate(parts, 1)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }
    asyncio.run(app(scope, receive, send))
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(answer)


def post(app: InboxApp, content: Any, secret: str = SECRET) -> int:
    """Send an event as OrgX does; return the status."""
    body = content if isinstance(content, bytes) else body_of(content)
    return call(app, body, [("X-OrgX-Signature", sign(body, secret))])[0]


@contextmanager
def door(path: Path = Path("x.inbox"), secrets: Sequence[str] = (SECRET,), **more: Any) -> Iterator[InboxApp]:
    """Open an application that stores events and loads nothing."""
    app = InboxApp(Inbox(path), Signatures(secrets, **more))
    try:
        yield app
    finally:
        app.close()


def target() -> Target:
    return Target(database=running.DATABASE) if running._postgres is None else Target("postgres")


@contextmanager
def listener(box: Sandbox, **settings: Any) -> Iterator[tuple[InboxApp, Drain]]:
    """Open an application whose batches are loaded by the test, one at a time."""
    client = running.fast_client(box, **settings)
    loader = BatchLoader(client.config, target(), make_client=lambda config: running.fast_client(box, **settings))
    inbox = Inbox(Path("x.inbox"))
    app = InboxApp(inbox, Signatures([SECRET]))
    try:
        yield app, Drain(inbox, loader)
    finally:
        app.close()


@contextmanager
def listening(
    box: Sandbox, *options: str, port: int = 0, on_batch: Callable[[], object] = lambda: None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``orgx-sync listen``; yield the process and its address. Each loaded batch calls `on_batch`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orgx_source.cli", "listen", "--port", str(port), "--database", "x.duckdb", *options],
        env={
            **os.environ,
            "ORGX_API_KEY": box.api_key,
            "ORGX_BASE_URL": box.url,
            "ORGX_WEBHOOK_SECRET": SECRET,
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    stderr = process.stderr
    assert stderr is not None

    def follow() -> None:
        # Unread output would fill the pipe.
        for line in stderr:
            if ": returned " in line:
                on_batch()

    with process:
        try:
            first = stderr.readline()
            found = re.search(r"listening at (http://\S+) ", first)
            assert found, first + stderr.read()
            threading.Thread(target=follow, daemon=True).start()
            yield process, found[1]
        finally:
            process.kill()
