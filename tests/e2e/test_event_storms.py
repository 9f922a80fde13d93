"""Events by the thousand, in any order and again and again, with a listener that is killed: none is lost.

``ORGX_EVENTS`` says how many; ``make search`` tries 20,000 with ten kills.
"""

from __future__ import annotations

import http.client
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orgx_source.sandbox import EventLog, Mischief, Sandbox, Sender, World
from orgx_source.sandbox.webhooks import Delivery
from orgx_source.sandbox.world import Row
from tests.listening import SECRET, listener, listening, post
from tests.running import differences, query, sync

EVENTS = int(os.environ.get("ORGX_EVENTS", "150"))
KILLS = 10 if EVENTS >= 1_000 else 1
EXAMPLES = 40 if EVENTS >= 1_000 else 1
PER_SECOND = 500
TABLES = ["decisions", "initiatives", "artifacts", "agents"]


def happenings(world: World, count: int) -> list[Row]:
    """Change rows, and return one event for each change."""
    log = EventLog(world)
    kinds = {"decision": {"status": "approved"}, "initiative": {"progress_pct": 7}, "artifact": {"status": "approved"}}
    ids = {kind: [row["id"] for row in world.rows(kind)] for kind in kinds}
    rng = random.Random(count)
    for number in range(count):
        kind = rng.choice(list(kinds))
        name = "name" if kind == "artifact" else "title"
        world.edit(kind, rng.choice(ids[kind]), **{name: f"changed {number}"}, **kinds[kind])
    return log.events()


class Storm:
    """Sends deliveries at a steady rate from several connections.

    Attributes:
        answered: Ids of the events that were answered 200.
        lost: What nobody answered.
    """

    def __init__(self, url: str, deliveries: Sequence[Delivery]) -> None:
        self.answered: set[bytes] = set()
        self.lost: list[Delivery] = []
        self._host = urlsplit(url).netloc
        self._deliveries = iter(deliveries)
        self._began = time.monotonic()
        self._sent = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        threads = [threading.Thread(target=self._send) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _next(self) -> Delivery | None:
        with self._lock:
            self._sent += 1
            due = self._began + self._sent / PER_SECOND
            delivery = next(self._deliveries, None)
        time.sleep(max(0.0, due - time.monotonic()))
        return delivery

    def _send(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=20)
        while (delivery := self._next()) is not None:
            try:
                connection.request("POST", "/", delivery.body, {"X-OrgX-Signature": delivery.signature})
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            with self._lock:
                if not delivery.is_right:
                    assert status in (401, 0)
                elif status == 200:
                    self.answered.add(delivery.body)
                else:
                    self.lost.append(delivery)
        connection.close()


def parts(deliveries: Sequence[Delivery], count: int) -> Iterator[Sequence[Delivery]]:
    size = -(-len(deliveries) // count)
    for start in range(0, len(deliveries), size):
        yield deliveries[start : start + size]


def test_no_event_that_was_answered_is_lost_when_the_listener_is_killed() -> None:
    with Sandbox(World("small")) as box:
        assert sync(box, TABLES).status == "ok"
        events = happenings(box.world, EVENTS)
        assert len(events) == EVENTS
        sender = Sender("http://127.0.0.1", SECRET, Mischief(repeat=0.1, shuffle=200, wrong_signature=0.02))
        answered: set[bytes] = set()
        lost: list[Delivery] = []
        for part in parts(list(sender.deliveries(events)), KILLS):
            with listening(box, "--batch-seconds", "1") as (process, url):
                storm = Storm(url, part)
                killer = threading.Timer(0.8 * len(part) / PER_SECOND, process.kill)
                killer.start()
                storm.run()
                killer.join()
            answered |= storm.answered
            lost += storm.lost
        assert answered
        assert len(answered | {delivery.body for delivery in lost}) == EVENTS
        with listening(box) as (_, url), httpx.Client(base_url=url) as client:
            # OrgX sends none again; the test does, so that the tables can be compared with the world.
            last = Storm(url, lost)
            last.run()
            assert last.lost == []
            health = client.get("/healthz").json()
            while health["waiting"]:
                assert health["status"] == "ok", health
                time.sleep(0.05)
                health = client.get("/healthz").json()
        found = query("select count(*), count(distinct id), count(loaded_at) from orgx.webhook_events")
        assert found == [(EVENTS, EVENTS, EVENTS)]
        assert differences(box.world, tables=TABLES) == []
        assert sync(box, TABLES).status == "ok"
        for table in ("decisions", "initiatives", "artifacts"):
            doubled = f"select id from orgx.{table}_history group by id, valid_from having count(*) > 1"
            assert query(doubled) == []


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 30), share=st.floats(0, 1))
def test_the_events_of_a_day_end_in_the_same_tables_in_any_order(seed: int, share: float) -> None:
    for file in Path().glob("x.*"):
        file.unlink()
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        assert sync(box, TABLES).status == "ok"
        log = EventLog(box.world)
        box.world.advance(hours=24)
        events = [event for event in log.events() if event["data"].get("id")]
        picked = events * 2
        random.Random(seed).shuffle(picked)
        cut = round(share * len(picked))
        for event in picked[:cut]:
            assert post(app, event) == 200
        drain.load_once()
        for event in picked[cut:]:
            assert post(app, event) == 200
        drain.load_once()
        touched = {event["data"]["id"] for event in events}
        problems = [text for text in differences(box.world, tables=TABLES) if text.split()[1] in touched]
        assert [text for text in problems if "does not exist" not in text] == []
        (count,) = query("select count(*) from orgx.webhook_events")[0]
        assert count == len({event["id"] for event in events})
        report = sync(box, TABLES)
        assert report.status == "ok"
        assert differences(box.world, tables=TABLES) == []
