"""Events end in the tables: asked for by id, loaded once, in turn with runs."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from orgx_source.errors import AuthError, DatasetTakenError, DestinationError
from orgx_source.inbox.signature import sign
from orgx_source.inbox.store import Inbox
from orgx_source.sandbox import Fault, Sandbox, World
from orgx_source.sync import one_run_at_a_time
from tests.listening import SECRET, body_of, event, listener, listening, post
from tests.running import DATABASE, differences, execute, pipeline, query, sync

TABLES = ["decisions", "initiatives", "agents"]


def deep(levels: int) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = [value]
    return value


def change_a_minute_later(world: World, kind: str, count: int) -> list[str]:
    world.now += timedelta(minutes=1)
    ids = [row["id"] for row in world.rows(kind)[:count]]
    for row_id in ids:
        world.edit(kind, row_id, title=f"changed at {world.now}")
    return ids


@pytest.mark.marts
def test_the_rows_that_events_name_are_fresh_after_one_request_for_a_table(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        assert sync(box, TABLES).status == "ok"
        box.forget()
        ids = change_a_minute_later(box.world, "decision", 20)
        made = box.world.insert("decision", title="Is this new?", status="pending")["id"]
        for number, row_id in enumerate([*ids, made, *ids]):
            assert post(app, event(f"e{number}", "decision.resolved", row_id)) == 200
        box.world.edit("agent", box.world.rows("agent")[0]["id"], status="running", current_task="events")
        assert post(app, event("a", "agent.started", "run-1")) == 200
        assert drain.load_once() == 42
        asked = [seen.params.get("ids", "").count(",") + 1 for seen in box.requests if seen.path == "/api/entities"]
        assert (asked, box.count("/api/client/live/agents"), box.count("/api/client/bootstrap")) == ([21], 1, 1)
        assert differences(box.world, tables=TABLES) == []
        assert query("select count(*), count(distinct id), count(loaded_at) from orgx.webhook_events") == [(42, 42, 42)]
        assert query("select count(*) from orgx.decisions_history where title like 'changed%'") == [(20,)]
        lags = query(
            "select table_name, event_lag_count, event_lag_seconds_p50 > 0 and event_lag_seconds_p95 >= "
            "event_lag_seconds_p50 and event_lag_seconds_worst >= event_lag_seconds_p95 from orgx_marts.sync_health "
            "order by table_name"
        )
        assert lags == [("agents", 1, True), ("decisions", 41, True), ("initiatives", 0, None)]
        # A night afterwards has nothing to write, and proves it.
        report = sync(box, TABLES)
        assert report.status == "ok"
        assert sum(table.rows_new + table.rows_changed + table.rows_deleted for table in report.tables.values()) == 0


@pytest.mark.parametrize("odd", [2**70, -(2**63) - 1, float("nan"), deep(240), deep(300), {"a": [deep(300), 2**64]}])
def test_an_event_with_odd_content_stops_no_other(each_warehouse: str, odd: Any) -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        row_id = box.world.rows("decision")[0]["id"]
        assert post(app, event("odd", row_id=row_id, data={"id": row_id, "odd": odd})) == 200
        assert post(app, event("good", row_id=row_id)) == 200
        assert drain.load_once() == 2
    assert query("select id, outcome from orgx.webhook_events order by id") == [("good", "loaded"), ("odd", "loaded")]
    if isinstance(odd, int):
        assert str(odd) in str(query("select body from orgx.webhook_events where id = 'odd'")[0][0])


def test_agents_of_the_first_event_belong_to_its_workspace() -> None:
    with (
        Sandbox(World("small", seed=1)) as one,
        Sandbox(World("small", seed=2), api_key="oxk_of_another") as other,
        listener(one) as (app, drain),
    ):
        for row in one.world.rows("agent"):
            one.world.edit("agent", row["id"], current_task="of one")
        for row in other.world.rows("agent"):
            other.world.edit("agent", row["id"], current_task=None)
        assert post(app, event("a", "agent.started", "run-1")) == 200
        assert drain.load_once() == 1
        assert sync(other, ["agents"]).exit_code == 0
    found = query("select id like '%/%', count(*), count(distinct current_task) from orgx.agents group by 1 order by 1")
    assert found == [(False, one.world.count("agent"), 1), (True, other.world.count("agent"), 0)]


def test_without_an_event_nothing_is_asked_and_repeats_are_kept_once() -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        assert drain.load_once() == 0
        assert box.requests == []
        row_id = box.world.rows("decision")[0]["id"]
        assert [post(app, event("one", row_id=row_id)) for _ in range(3)] == [200, 200, 200]
        assert drain.load_once() == 1
        # A repeat of what is in the warehouse is known too.
        assert post(app, event("one", row_id=row_id)) == 200
        assert drain.load_once() == 0
        assert query("select count(*) from orgx.webhook_events") == [(1,)]
        assert query("select count(*) from orgx.decisions") == [(1,)]


def test_what_is_unknown_or_gone_is_kept_and_named_and_nothing_is_marked_as_deleted() -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        assert sync(box, ["decisions"]).status == "ok"
        gone = box.world.rows("decision")[0]["id"]
        box.world.delete("decision", gone)
        post(app, event("gone", row_id=gone))
        post(app, event("unknown", "billing.paid", "x", note="nul \x00, half \ud83d"))
        post(app, {"id": 7, "type": ["no", "text"], "created": "yesterday", "data": [1]})
        post(app, event("later", "decision.expired", box.world.rows("decision")[1]["id"]))
        assert drain.load_once() == 4
        assert query("select id, outcome from orgx.webhook_events order by id") == [
            ("7", "unknown type None"),
            ("gone", "not returned by OrgX; left to the next run"),
            ("later", "unknown type decision.expired; loaded"),
            ("unknown", "unknown type billing.paid"),
        ]
        assert query("select count(*) from orgx.decisions where deleted_at is not null") == [(0,)]
        report = sync(box, ["decisions"])
        assert (report.status, report.tables["decisions"].rows_deleted) == ("ok", 1)


def test_an_outcome_says_when_a_row_that_orgx_returned_was_not_written(each_warehouse: str) -> None:
    world = World("medium")
    world.remember()
    with Sandbox(world) as box:
        rows = world.rows("decision")
        mine = next(row for row in rows if row.get("workspace_id"))
        same = next(row for row in rows if row is not mine and row.get("workspace_id") == mine["workspace_id"])
        other = next(row for row in rows if row.get("workspace_id") not in (None, mine["workspace_id"]))
        sync(box, ["decisions", "agents"])
        world.now += timedelta(minutes=6)
        world.edit("decision", mine["id"], title="newer")
        world.edit("agent", world.rows("agent")[0]["id"], current_task="newer")
        sync(box, ["decisions", "agents"])
        execute(f"delete from orgx.decisions where id = '{other['id']}'")
        with listener(box, workspace_id=mine["workspace_id"]) as (app, drain):
            box.inject(Fault("stale", 300.0), Fault("ignore_workspace"))
            post(app, event("older", row_id=mine["id"]))
            post(app, event("foreign", row_id=other["id"]))
            post(app, event("as before", row_id=same["id"]))
            post(app, event("unknown", "billing.paid"))
            assert drain.load_once() == 4
    assert dict(query("select id, outcome from orgx.webhook_events where loaded_at is not null")) == {
        "older": "not loaded: older than the stored row, left to the next run",
        "foreign": "not loaded: of a workspace other than the requested one",
        "as before": "loaded",
        "unknown": "unknown type billing.paid",
    }
    assert query(f"select title from orgx.decisions where id = '{mine['id']}'") == [("newer",)]
    assert query(f"select count(*) from orgx.decisions where id = '{other['id']}'") == [(0,)]


def test_an_event_whose_body_was_damaged_in_the_inbox_is_kept_and_named(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        row_id = box.world.rows("decision")[0]["id"]
        post(app, event("damaged", row_id=row_id))
        post(app, event("good", row_id=row_id))
        with closing(sqlite3.connect("x.inbox")) as connection, connection:
            connection.execute("update events set body = substr(body, 1, 20) where id = 'damaged'")
        assert drain.load_once() == 2
    assert query("select id, outcome, body is null from orgx.webhook_events order by id") == [
        ("damaged", "its body was damaged in the inbox; left to the next run", True),
        ("good", "loaded", False),
    ]


def test_a_targeted_read_moves_no_cursor_and_hides_no_change() -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        assert sync(box, ["decisions"]).status == "ok"
        change_a_minute_later(box.world, "decision", 10)
        row_id = box.world.rows("decision")[-1]["id"]
        box.world.now += timedelta(hours=3)
        box.world.edit("decision", row_id, title="named by an event")
        post(app, event("e", row_id=row_id))
        assert drain.load_once() == 1
        assert sync(box, ["decisions"]).tables["decisions"].rows_changed == 10
        assert differences(box.world, tables=["decisions"]) == []


@pytest.mark.parametrize("fault", ["status=503", "rate_limited=3600", "closed=401"])
def test_when_orgx_does_not_answer_the_events_wait(fault: str) -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        row_id = box.world.rows("decision")[0]["id"]
        post(app, event("e", row_id=row_id))
        box.inject(Fault.parse(fault))
        with pytest.raises(Exception, match=r"503|rate|401|limit"):
            drain.load_once()
        box.heal()
        assert drain.load_once() == 1
        assert query("select outcome from orgx.webhook_events") == [("loaded",)]


def test_a_closed_table_keeps_nothing_else_from_being_loaded() -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        box.inject(
            Fault("closed", 403, path="/api/entities", entity="decision"),
            Fault("closed", 403, path="/api/v1/decisions"),
        )
        post(app, event("d", row_id=box.world.rows("decision")[0]["id"]))
        post(app, event("i", "initiative.updated", box.world.rows("initiative")[0]["id"]))
        assert drain.load_once() == 2
        found = dict(query("select id, outcome from orgx.webhook_events"))
        assert found["i"] == "loaded"
        assert found["d"] == "/api/v1/decisions does not support single rows; left to the next run"
        assert query("select count(*) from orgx.initiatives") == [(1,)]


def test_a_key_that_is_revoked_later_makes_events_wait_and_a_closed_route_does_not() -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        first, second = (row["id"] for row in box.world.rows("initiative")[:2])
        post(app, event("before", "initiative.updated", first))
        assert drain.load_once() == 1
        box.inject(Fault("closed", 401, path="/api/entities"))
        post(app, event("closed", "initiative.updated", second))
        assert drain.load_once() == 1
        box.inject(Fault("closed", 401))
        post(app, event("revoked", "initiative.updated", second))
        with pytest.raises(AuthError):
            drain.load_once()
        box.heal()
        assert drain.load_once() == 1
        outcomes = dict(query("select id, outcome from orgx.webhook_events"))
        assert outcomes["before"] == outcomes["revoked"] == "loaded"
        assert "does not support single rows" in outcomes["closed"]


def test_a_run_and_a_batch_take_turns(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        post(app, event("e", row_id=box.world.rows("decision")[0]["id"]))
        with one_run_at_a_time(pipeline()), pytest.raises(DatasetTakenError):
            drain.load_once()
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with one_run_at_a_time(pipeline(), as_batch=True):
                entered.set()
                leave.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        entered.wait()
        # Not waited for: the time is up at once.
        assert sync(box, TABLES, lock_timeout=0).exit_code == 4
        timer = threading.Timer(0.2, leave.set)
        timer.start()
        assert sync(box, TABLES).status == "ok"
        holder.join()
        timer.join()
        assert drain.load_once() == 1
        assert differences(box.world, tables=TABLES) == []


def test_a_dropped_column_is_left_to_a_run_which_fills_it_again() -> None:
    with Sandbox(World("small")) as box, listener(box) as (app, drain):
        assert sync(box, ["decisions"]).status == "ok"
        execute("alter table orgx.decisions drop column title")
        post(app, event("e", row_id=box.world.rows("decision")[0]["id"]))
        with pytest.raises(DestinationError, match="decisions or columns of it were dropped"):
            drain.load_once()
        assert sync(box, ["decisions"]).exit_code == 0
        assert drain.load_once() == 1
        assert differences(box.world, tables=["decisions"]) == []


def test_an_inbox_of_an_older_version_opens_with_its_events() -> None:
    from orgx_source.inbox.store import STEPS

    connection = sqlite3.connect("x.inbox")
    connection.executescript(STEPS[0] + "pragma user_version = 1;")
    connection.execute(
        "insert into events (id, received_at, signature_key, body) values ('old', '2026-01-01T00:00:00+00:00', 1, ?)",
        (body_of(event("old")),),
    )
    connection.commit()
    connection.close()
    inbox = Inbox(Path("x.inbox"))
    try:
        assert inbox.put("old", b"{}", 1).result() is False
        assert [each.id for each in inbox.oldest(10)] == ["old"]
    finally:
        inbox.close()


def test_the_command_answers_loads_and_survives_a_kill() -> None:
    with Sandbox(World("small")) as box:
        row_ids = [row["id"] for row in box.world.rows("decision")[:5]]
        # Long enough that nothing is loaded before the kill.
        with listening(box, "--batch-seconds", "600") as (process, url), httpx.Client(base_url=url) as http:
            for number, row_id in enumerate(row_ids):
                body = body_of(event(f"e{number}", row_id=row_id))
                assert http.post("/", content=body, headers={"X-OrgX-Signature": sign(body, SECRET)}).status_code == 200
                assert http.post("/webhooks/orgx", content=body).status_code == 401
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        with listening(box, "--publish", "copy.duckdb") as (_, url), httpx.Client(base_url=url) as http:
            health = http.get("/healthz").json()
            while health["waiting"] and not health["trouble"]:
                health = http.get("/healthz").json()
            assert health["trouble"] is None
            while not Path("copy.duckdb").exists():
                assert http.get("/healthz").json()["status"] == "ok"
            assert http.get("/elsewhere").status_code == 404
            assert http.get("/").status_code == 405
        assert query("select count(*), count(loaded_at) from orgx.webhook_events") == [(5, 5)]
        assert query("select count(*) from copy.orgx.decisions", Path("copy.duckdb")) == [(5,)]
        assert DATABASE.exists()


def test_an_answer_on_a_connection_that_is_kept_waits_for_no_acknowledgement() -> None:
    with (
        Sandbox(World("small")) as box,
        listening(box, "--batch-seconds", "600") as (_, url),
        httpx.Client(base_url=url) as http,
    ):
        answers = [http.post("/", content=b"{}") for _ in range(60)]
    # Linux delays acknowledgements by 40 ms, but for the first of a connection. The quickest: the machine may be busy.
    assert min(answer.elapsed for answer in answers[30:]) < timedelta(milliseconds=35)


def test_it_does_not_start_without_a_secret() -> None:
    from tests.e2e.test_command import orgx_sync

    with Sandbox(World("small")) as box:
        done = orgx_sync("listen", "--database", "x.duckdb", box=box)
    assert done.returncode == 3
    assert "ORGX_WEBHOOK_SECRET" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--destination", "duckbd"), "duckbd"),
        (("--destination", "filesystem"), "--untested"),
        (("--host", "no-such-host.invalid"), "choose another --host"),
    ],
)
def test_it_does_not_start_where_events_could_not_be_loaded(options: tuple[str, ...], said: str) -> None:
    from tests.e2e.test_command import orgx_sync

    with Sandbox(World("small")) as box:
        done = orgx_sync("listen", *options, box=box, ORGX_WEBHOOK_SECRET=SECRET)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    assert said in done.stderr
