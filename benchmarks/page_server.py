"""A list of tasks on loopback without rendering cost: all rows are written as JSON before the first request.

    python benchmarks/page_server.py --rows 100000 --latency 0

Prints its address, then responds until its standard input ends. It implements just enough of OrgX for a list of tasks:
``limit``, ``offset``, both orders, ``total``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

# Description of the rows of `make_rows` for the page; stored with the results measured on them.
ABOUT = (
    "16 fields and some 700 bytes a row, two fields nested; ids are random UUIDs, titles, descriptions, statuses and "
    "times vary, and every contender reads the same rows"
)
WORKSPACE = "7d8f6a52-3b1c-4e0e-9c57-2f4a86d1b9e3"
PAGE_MOST = 100
SEED = 7
# Rows are created in groups, like the tasks of a milestone, nine seconds per row: a million in 104 days.
FIRST_MADE = datetime(2025, 1, 1, tzinfo=UTC)
TOGETHER, SECONDS_A_ROW = 4, 9
STATUSES = ("todo", "in_progress", "done", "blocked", "cancelled", "archived")
STATUS_WEIGHTS = (38, 17, 35, 6, 2, 2)
PRIORITIES = ("low", "medium", "high", "urgent")
KINDS = {
    "research": ("Find out", "Compare", "Interview users about", "Collect numbers on", "Map", "List the risks of"),
    "create": ("Draft", "Write", "Sketch", "Record", "Prepare", "Translate"),
    "review": ("Review", "Check", "Sign off", "Test", "Audit", "Walk through"),
    "implement": ("Build", "Move", "Replace", "Wire up", "Speed up", "Roll out", "Clean up"),
}
SUBJECTS = (
    "usage events", "the pricing copy", "the consent flow", "the import job", "the status page", "the audit trail",
    "e-mail audiences", "invoice reminders", "the trial banner", "search results", "webhook retries", "seat limits",
    "the onboarding checklist", "error budgets", "the résumé parser", "currency rounding", "role permissions",
    "the dashboard filters", "customer stories", "the renewal playbook", "API rate limits", "empty states",
)  # fmt: skip
AREAS = (
    "for trial users", "in Europe", "for mobile", "before the launch", "for admins", "for new regions", "in São Paulo",
    "on the settings page", "for the enterprise pilot", "with the design team", "after the migration", "in staging",
)  # fmt: skip
SENTENCES = (
    "Start from what the last review left open.", "Leave an artifact that somebody else can check.",
    "Numbers first, then a recommendation.", "Ask before anything is sent to customers.",
    "Keep the old path working until the switch.", "Two options are enough; say which one you would take.",
    "Note what was tried and did not work.", "Stop and ask if it takes twice as long as estimated.",
    "Link every source that a claim rests on.", "The wording has to pass legal before it goes live.",
)  # fmt: skip
AGENTS = ("product", "engineering", "marketing", "sales", "operations", "design", "orchestrator")
TAGS = ("q1", "q2", "growth", "core", "risk", "customer", "debt", "launch")


def make_rows(count: int) -> Iterator[bytes]:
    """Yield tasks of 16 fields and some 700 bytes: the same in every run.

    Ids are random, two fields are nested, and rows are in order of creation.
    """
    rng = random.Random(SEED)
    for number in range(count):
        yield json.dumps(_task(number, rng), ensure_ascii=False, separators=(",", ":")).encode()


def _task(number: int, rng: random.Random) -> dict[str, Any]:
    made = FIRST_MADE + timedelta(
        seconds=number // TOGETHER * TOGETHER * SECONDS_A_ROW, milliseconds=number // TOGETHER % 997
    )
    status = rng.choices(STATUSES, STATUS_WEIGHTS)[0]
    # Tasks that were not begun seldom change again; all others change within three weeks.
    touched = status != "todo" or rng.random() < 0.2
    changed = made + timedelta(milliseconds=round(1.8e9 * rng.random() ** 3)) if touched else made
    kind = rng.choice(tuple(KINDS))
    hours = rng.choice((0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.5))
    agent = rng.choice(AGENTS)
    return {
        "id": _uuid(rng),
        "title": f"{rng.choice(KINDS[kind])} {rng.choice(SUBJECTS)} {rng.choice(AREAS)}",
        "description": " ".join(rng.sample(SENTENCES, rng.randint(1, 3))) if rng.random() < 0.8 else None,
        "status": status,
        "priority": rng.choices(PRIORITIES, (20, 50, 25, 5))[0],
        "initiative_id": _id_of("initiative", number // 1_000),
        "workstream_id": _id_of("workstream", number // 200),
        "milestone_id": _id_of("milestone", number // 50) if rng.random() < 0.7 else None,
        "sequence": number % 50,
        "type": kind,
        "assigned_agent_ids": [f"{agent}-agent"] if rng.random() < 0.9 else [],
        "expected_duration_hours": hours,
        "metadata": {
            "ref": f"T-{number + 1}",
            "estimate": {"hours": hours, "confidence": round(rng.uniform(0.3, 0.95), 2)},
            "tags": rng.sample(TAGS, rng.randint(0, 3)),
        },
        "workspace_id": WORKSPACE,
        "created_at": _iso(made),
        "updated_at": _iso(changed),
    }


@lru_cache(64)
def _id_of(kind: str, number: int) -> str:
    return _uuid(random.Random(f"{kind} {number}"))


def _uuid(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


class Tasks:
    """Rows as one text; a page is a slice of it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._text, self._begins, changed = bytearray(), array("q"), []
        for row in make_rows(count):
            self._begins.append(len(self._text))
            self._text += row + b","
            # The last field of a row, as text in chronological order.
            changed.append(row[-26:-2])
        self._begins.append(len(self._text))
        self._by_change = array("q", sorted(range(count), key=lambda number: (changed[number], number)))

    def page(self, offset: int, limit: int, *, newest_first: bool) -> bytes:
        """Return the body of one page, in order of creation or, with the newest change first, of changes."""
        end = min(offset + limit, self.count)
        if newest_first:
            places = (self._by_change[self.count - 1 - place] for place in range(offset, end))
            rows = b",".join(self._text[self._begins[i] : self._begins[i + 1] - 1] for i in places)
        else:
            rows = bytes(self._text[self._begins[min(offset, self.count)] : self._begins[end]])[:-1]
        more = b"true" if end < self.count else b"false"
        told = b'"pagination":{"total":%d,"limit":%d,"offset":%d,"has_more":%s}' % (self.count, limit, offset, more)
        return b'{"type":"task","data":[' + rows + b"]," + told + b"}"


class Connection(asyncio.Protocol):
    """Responds to the requests of one connection, one after another."""

    def __init__(self, tasks: Tasks, latency: float) -> None:
        self._tasks, self._latency, self._read = tasks, latency, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport for responses."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to each complete request; a GET has no body."""
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
    # The other end belongs to the process that started this one: when that ends, this server ends.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each response")
    options = parser.parse_args()
    asyncio.run(serve(options.rows, options.latency))


if __name__ == "__main__":
    main()
