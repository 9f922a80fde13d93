"""Events by the thousand, in any order and again and again, with a listener that is killed or meets runs: none is lost.

``ORGX_EVENTS`` says how many; ``make search`` tries 20,000 with ten kills, and beside twenty runs.
"""

from __future__ import annotations

import http.client
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orgx_source.reading.report import RunReport
from orgx_source.sandbox import EventLog, Mischief, Sandbox, Sender, World
from orgx_source.sandbox.webhooks import Delivery
from orgx_source.sandbox.world import Row
from orgx_source.sync import run_sync
from tests.listening import SECRET, listener, listening, post
from tests.running import differences, fast_client, pipeline, query, sync

EVENTS = int(os.environ.get("ORGX_EVENTS", "150"))
KILLS = 10 if EVENTS >= 1_000 else 1
NIGHTS = 20 if EVENTS >= 1_000 else 2
CHANGES_OF_A_NIGHT = EVENTS // NIGHTS // 5 * 5
EXAMPLES = 40 if EVENTS >= 1_000 else 1
PER_SECOND = 500
TABLES = ["decisions", "initiatives", "artifacts", "agents"]


def happenings(world: World, count: int, seed: int = 0) -> list[Row]:
    """Change rows, and return one event for each change."""
    log = EventLog(world)
    kinds = {"decision": {"status": "approved"}, "initiative": {"progress_pct": 7}, "artifact": {"status": "approved"}}
    ids = {kind: [row["id"] for row in world.rows(kind)] for kind in kinds}
    rng = random.Random(seed)
    for number in range(count):
        kind = rng.choice(list(kinds))
        name = "name" if kind == "artifact" else "title"
        world.edit(kind, rng.choice(ids[kind]), **{name: f"changed {seed} {number}"}, **kinds[kind])
    return log.events()


class Storm:
    """Sends deliveries at a steady rate from several connections, and calls `at_end` when four of five are sent.

    Attributes:
        answered: Ids of the events that were answered 200.
        lost: What nobody answered.
    """

    def __init__(self, url: str, deliveries: Sequence[Delivery], at_end: Callable[[], object] = lambda: None) -> None:
        self.answered: set[bytes] = set()
        self.lost: list[Delivery] = []
        self._host = urlsplit(url).netloc
        self._deliveries = iter(deliveries)
        self._end, self._at_end = max(1, len(deliveries) * 4 // 5), at_end
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
            if self._sent == self._end:
                self._at_end()
        # The rate is the load that is tried; nothing is waited for here.
        threading.Event().wait(max(0.0, due - time.monotonic()))
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


def wait_until_loaded(url: str, batches: threading.Semaphore) -> None:
    """Wait until the inbox is empty: one look after each batch."""
    with httpx.Client(base_url=url) as client:
        while (health := client.get("/healthz").json())["waiting"]:
            assert batches.acquire(timeout=60), health


def check_history() -> None:
    """Make sure that no version stands twice, under one time or under two, and that the last one is the row."""
    for table in ("decisions", "initiatives", "artifacts"):
        name = "name" if table == "artifacts" else "title"
        versions = (
            f"select id, {name} as name, updated_at, valid_from, lag(_row_hash) over by_id = _row_hash as is_same, "
            f"lag(valid_from) over by_id = valid_from as is_at_once, lead(id) over by_id is null as is_last "
            f"from orgx.{table}_history window by_id as (partition by id order by valid_from)"
        )
        assert query(f"select id from ({versions}) where is_same or is_at_once") == []
        last = f"select id, name, updated_at from ({versions}) where is_last"
        rows = f"select id, {name}, updated_at from orgx.{table}"
        assert query(f"({rows} except {last}) union all ({last} except {rows})") == []


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
                storm = Storm(url, part, process.kill)
                storm.run()
            answered |= storm.answered
            lost += storm.lost
        assert answered
        assert len(answered | {delivery.body for delivery in lost}) == EVENTS
        batches = threading.Semaphore(0)
        with listening(box, on_batch=batches.release) as (_, url):
            # OrgX sends none again; the test does, so that the tables can be compared with the world.
            last = Storm(url, lost)
            last.run()
            assert last.lost == []
            wait_until_loaded(url, batches)
        found = query("select count(*), count(distinct id), count(loaded_at) from orgx.webhook_events")
        assert found == [(EVENTS, EVENTS, EVENTS)]
        assert differences(box.world, tables=TABLES) == []
        assert sync(box, TABLES).status == "ok"
        check_history()


def run_while_events_come(box: Sandbox, url: str, number: int) -> RunReport:
    """Run; as soon as it reads, and so holds the lock, rows change and events of it are sent."""
    reads = threading.Event()

    def send() -> None:
        reads.wait()
        sender = Sender(url, SECRET)
        for part in range(CHANGES_OF_A_NIGHT // 5):
            with box.world.lock:
                box.world.now += timedelta(seconds=1)
                events = happenings(box.world, 5, number * EVENTS + part)
            sender.send(events)
        sender.close()
        assert set(sender.answers) == {200}

    client = fast_client(box)
    with ThreadPoolExecutor() as others:
        sent = others.submit(send)
        try:
            return run_sync(client.config, pipeline(), tables=TABLES, client=client, on_progress=lambda *_: reads.set())
        finally:
            reads.set()
            sent.result()


def test_a_run_and_a_listener_that_write_at_the_same_time_lose_nothing() -> None:
    batches = threading.Semaphore(0)
    with Sandbox(World("small")) as box:
        assert sync(box, TABLES).status == "ok"
        with listening(box, "--batch-seconds", "1", on_batch=batches.release) as (_, url):
            for number in range(NIGHTS):
                report = run_while_events_come(box, url, number)
                assert report.exit_code == 0, report.to_json()
                # Back to back, runs would leave no batch its turn; the next one meets the batches that follow.
                assert batches.acquire(timeout=60)
            wait_until_loaded(url, batches)
        count = NIGHTS * CHANGES_OF_A_NIGHT
        loaded = "count(*) filter (outcome = 'loaded' and loaded_at is not null)"
        assert query(f"select count(*), {loaded} from orgx.webhook_events") == [(count, count)]
        assert differences(box.world, tables=TABLES) == []
        check_history()
        report = sync(box, TABLES)
        assert report.status == "ok"
        assert sum(table.rows_new + table.rows_changed + table.rows_deleted for table in report.tables.values()) == 0


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
