"""A list of tasks on loopback that costs its reader nothing: every row is written as JSON before the first request.

    python benchmarks/page_server.py --rows 100000 --latency 0

Prints its address, then answers until its standard input ends. It speaks just enough of OrgX for a list of tasks:
``limit``, ``offset``, both orders, ``total``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from array import array
from urllib.parse import parse_qs, urlsplit

WORKSPACE = "00000000-0000-4000-8000-000000000001"
STATUSES = ("todo", "in_progress", "done", "blocked")
KINDS = ("research", "create", "review", "implement")
PAGE_MOST = 100


def make_row(number: int) -> bytes:
    """Return one task of 15 fields; two of them are nested, times grow with the number."""
    minutes, seconds = divmod(number, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    made = f"2026-01-{days + 1:02d}T{hours:02d}:{minutes:02d}:{seconds:02d}.000Z"
    initiative = f"00000000-0000-4000-8002-{number // 1000:012d}"
    row = {
        "id": f"00000000-0000-4000-8001-{number:012d}",
        "title": f"Task {number} of many",
        "status": STATUSES[number % 4],
        "priority": "high" if number % 7 == 0 else "medium",
        "initiative_id": initiative,
        "workstream_id": f"00000000-0000-4000-8003-{number // 200:012d}",
        "milestone_id": f"00000000-0000-4000-8004-{number // 50:012d}" if number % 3 else None,
        "sequence": number % 50,
        "type": KINDS[number % 4],
        "assigned_agent_ids": ["engineering-agent"],
        "expected_duration_hours": number % 9 * 0.5,
        "metadata": {"ref": f"T-{number}", "estimate": {"hours": number % 9, "confidence": 0.7}},
        "workspace_id": WORKSPACE,
        "created_at": made,
        "updated_at": made,
    }
    return json.dumps(row, separators=(",", ":")).encode()


class Tasks:
    """Rows as one text, of which a page is a slice."""

    def __init__(self, count: int) -> None:
        self.count = count
        text, self._begins = bytearray(), array("q")
        for number in range(count):
            self._begins.append(len(text))
            text += make_row(number) + b","
        self._begins.append(len(text))
        self._text = bytes(text)

    def page(self, offset: int, limit: int, *, newest_first: bool) -> bytes:
        """Return the body of one page."""
        end = min(offset + limit, self.count)
        if newest_first:
            places = range(self.count - 1 - offset, self.count - 1 - end, -1)
            rows = b",".join(self._text[self._begins[i] : self._begins[i + 1] - 1] for i in places)
        else:
            rows = self._text[self._begins[min(offset, self.count)] : self._begins[end]][:-1]
        more = b"true" if end < self.count else b"false"
        told = b'"pagination":{"total":%d,"limit":%d,"offset":%d,"has_more":%s}' % (self.count, limit, offset, more)
        return b'{"type":"task","data":[' + rows + b"]," + told + b"}"


class Connection(asyncio.Protocol):
    """Answers the requests of one connection, one after another."""

    def __init__(self, tasks: Tasks, latency: float) -> None:
        self._tasks, self._latency, self._read = tasks, latency, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where answers go."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete; a GET has no body."""
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, self._read = self._read.split(b"\r\n\r\n", 1)
            answer = self._answer(head.split(b" ", 2)[1].decode())
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._write, answer)
            else:
                self._write(answer)

    def _write(self, answer: bytes) -> None:
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.write(answer)

    def _answer(self, target: str) -> bytes:
        url = urlsplit(target)
        if url.path != "/api/entities":
            body = b'{"ok":true,"data":{"workspace":{"id":"%s","name":"Benchmark"}}}' % WORKSPACE.encode()
        else:
            asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
            limit = max(1, min(int(asked.get("limit", PAGE_MOST)), PAGE_MOST))
            newest_first = asked.get("order_by") != "created_at" and asked.get("order_direction") == "desc"
            body = self._tasks.page(int(asked.get("offset", 0)), limit, newest_first=newest_first)
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def serve(count: int, latency: float) -> None:
    tasks = Tasks(count)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(tasks, latency), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    # Whoever started it holds the other end: when that is gone, so is the server.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    asyncio.run(serve(options.rows, options.latency))


if __name__ == "__main__":
    main()
