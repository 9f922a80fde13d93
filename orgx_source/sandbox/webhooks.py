"""OrgX's webhooks: sends changes in a world to a receiver as signed events, with optional faults.

As documented for OrgX, it sends each event once and ignores the response: events sent while the receiver is down are
lost. The faults cover everything that a receiver must handle.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from orgx_source.sandbox.lifecycle import pass_hour
from orgx_source.sandbox.world import Row, World, iso

TIMEOUT_SECONDS = 10.0
SETTLED = frozenset({"approved", "declined", "rejected"})


@dataclass(frozen=True, slots=True)
class Mischief:
    """Faults of event delivery.

    Attributes:
        repeat: Share of events sent twice.
        shuffle: Number of events that may be reordered; 1 keeps the order.
        wrong_signature: Share of events first sent with a wrong signature, then correctly.
        unknown: Share of events followed by one of an undocumented type.
        burst: Events held back and then sent together; 1 sends each immediately.
        upper_case: Whether the digest is in upper case.
        base64: Whether the digest is in base64.
    """

    repeat: float = 0.0
    shuffle: int = 1
    wrong_signature: float = 0.0
    unknown: float = 0.0
    burst: int = 1
    upper_case: bool = False
    base64: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request: a body and its signature.

    Attributes:
        body: JSON.
        signature: Value of ``X-OrgX-Signature``.
        is_right: Whether a receiver must accept it.
    """

    body: bytes
    signature: str
    is_right: bool = True


class EventLog:
    """Derives the events that OrgX would send from a world's log."""

    def __init__(self, world: World, *, from_start: bool = False) -> None:
        """Begin with the changes from now on.

        Args:
            world: The world.
            from_start: Whether to include all earlier changes.
        """
        self._world = world
        self._place = 0 if from_start else len(world.log)
        self._count = 0
        self._agents = {row["id"]: row["status"] for row in world.rows("agent")}

    def events(self) -> list[Row]:
        """Return the events of all changes since the last call.

        Source: webhooks page for the six types; ``data`` beyond that of ``decision.created`` is invented.
        """
        with self._world.lock:
            entries, self._place = self._world.log[self._place :], len(self._world.log)
            return [
                self._event(moment, kind, row)
                for moment, entity_type, row_id, action in entries
                if action != "delete" and (row := self._world.find(entity_type).get(row_id)) is not None
                if (kind := self._kind(entity_type, row, action)) is not None
            ]

    def unknown(self) -> Row:
        """Return an event of an undocumented type."""
        return self._event(self._world.now, "workspace.plan_changed", {"id": "plan", "title": "Größer"})

    def _kind(self, entity_type: str, row: Row, action: str) -> str | None:
        status = row.get("status")
        if entity_type == "initiative":
            return "initiative.updated"
        if entity_type == "artifact":
            return "artifact.shipped" if status == "approved" else None
        if entity_type == "decision":
            return "decision.created" if action == "insert" else "decision.resolved" if status in SETTLED else None
        if entity_type == "agent":
            before = self._agents.get(row["id"])
            self._agents[row["id"]] = status
            if before == status:
                return None
            return "agent.started" if status == "running" else "agent.completed" if before == "running" else None
        return None

    def _event(self, moment: datetime, kind: str, row: Row) -> Row:
        self._count += 1
        digest = hashlib.blake2b(f"{kind} {self._count} {row['id']} {moment}".encode(), digest_size=12).hexdigest()
        names = ("id", "title", "urgency", "status", "resolved_at", "initiative_id", "progress_pct", "run_id")
        data = {name: row[name] for name in names if row.get(name) is not None}
        return {
            "id": f"evt_{digest}",
            "type": kind,
            "created": iso(moment),
            "workspace_id": row.get("workspace_id"),
            "data": data,
        }


class Sender:
    """Signs events and sends them to one receiver.

    Attributes:
        answers: Count of responses by status; "lost" counts events without a response.
    """

    def __init__(self, url: str, secret: str, mischief: Mischief | None = None, seed: int = 7) -> None:
        """Prepare; sends nothing.

        Args:
            url: Address of the receiver.
            secret: Secret that signs the events.
            mischief: Faults of the delivery.
            seed: Random seed of the faults.

        Raises:
            ValueError: It is not an http URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http URL")
        self.answers: Counter[int | str] = Counter()
        self._address = (parts.hostname, parts.port)
        self._is_secure = parts.scheme == "https"
        self._path = parts.path or "/"
        self._secret = secret
        self._mischief = mischief or Mischief()
        self._rng = random.Random(seed)
        self._held: list[Row] = []
        self._connection: http.client.HTTPConnection | None = None

    def send(self, events: list[Row], *, flush: bool = False) -> None:
        """Send events, each once unless a fault repeats it; never raises because of the receiver.

        Args:
            events: The events in order of their occurrence.
            flush: Whether to also send events held back by a burst.
        """
        self._held += events
        if flush or len(self._held) >= self._mischief.burst:
            due, self._held = self._held, []
            for delivery in self.deliveries(due):
                self._post(delivery)

    def deliveries(self, events: list[Row]) -> Iterator[Delivery]:
        """Yield the requests for these events."""
        mischief, rng = self._mischief, self._rng
        bodies = []
        for event in events:
            body = json.dumps(event, ensure_ascii=False).encode()
            bodies += [body, body] if rng.random() < mischief.repeat else [body]
        for start in range(0, len(bodies), max(1, mischief.shuffle)):
            window = bodies[start : start + max(1, mischief.shuffle)]
            rng.shuffle(window)
            for body in window:
                if rng.random() < mischief.wrong_signature:
                    yield Delivery(body, self._sign(body, self._secret + "?"), is_right=False)
                yield Delivery(body, self._sign(body, self._secret))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _sign(self, body: bytes, secret: str) -> str:
        import base64

        digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
        if self._mischief.base64:
            return f"sha256={base64.b64encode(digest).decode()}"
        return f"sha256={digest.hex().upper() if self._mischief.upper_case else digest.hex()}"

    def _post(self, delivery: Delivery) -> None:
        headers = {"Content-Type": "application/json", "X-OrgX-Signature": delivery.signature}
        try:
            if self._connection is None:
                kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
                self._connection = kind(*self._address, timeout=TIMEOUT_SECONDS)
            self._connection.request("POST", self._path, delivery.body, headers)
            answer = self._connection.getresponse()
            answer.read()
            self.answers[answer.status] += 1
        except (OSError, http.client.HTTPException):
            self.answers["lost"] += 1
            self.close()
            self._connection = None


class Life:
    """Simulates activity in a world in real time and sends its events; use it as a context manager."""

    def __init__(self, world: World, sender: Sender, *, every: float = 1.0, pace: float = 1.0, unknown: float = 0.0):
        """Prepare.

        Args:
            world: The world; its clock is set to the current time.
            sender: Sends the events.
            every: Seconds between two steps.
            pace: Simulated hours of work per step.
            unknown: Share of steps followed by an event of an unknown type.
        """
        self.sender = sender
        self._world = world
        self._log = EventLog(world)
        self._every = every
        self._step = timedelta(hours=pace)
        self._unknown = unknown
        self._rng = random.Random(len(world.log))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orgx-webhooks", daemon=True)

    def __enter__(self) -> Life:
        self._thread.start()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stopped.set()
        self._thread.join()
        self.sender.close()

    def tick(self) -> None:
        """Simulate one step and send its events."""
        with self._world.lock:
            self._world.now = datetime.now(UTC) - self._step
            pass_hour(self._world, self._step)
        events = self._log.events()
        if self._rng.random() < self._unknown:
            events.append(self._log.unknown())
        self.sender.send(events)

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            self.tick()
        self.sender.send([], flush=True)
