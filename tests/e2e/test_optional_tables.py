"""Runs, receipts, sessions, handoffs and usage: read like every table, and no harm where the key may not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orgx_source.commands.check import run_check
from orgx_source.commands.plan import run_plan
from orgx_source.commands.status import read_status
from orgx_source.commands.verify import run_verify
from orgx_source.config import load_config
from orgx_source.reading.report import RunReport
from orgx_source.sandbox import Fault, Sandbox, World
from orgx_source.sync import run_sync
from orgx_source.tables import OPTIONAL_TABLES, TABLES
from tests.running import (
    DATABASE,
    OPTIONAL_KINDS,
    _comparable,
    expected,
    fast_client,
    pipeline,
    query,
    stored,
    sync,
)
from tests.running import NOT_OF_THE_WORLD as NOT_COMPARED

TODAY = datetime(2026, 4, 13, 6, tzinfo=UTC)
RUNS = "/api/entities?type=run"


def sync_at(box: Sandbox, now: datetime, tables: list[str]) -> RunReport:
    client = fast_client(box)
    return run_sync(client.config, pipeline(), tables=tables, client=client, clock=lambda: now)


def is_served(world: World, table: str) -> Callable[[dict[str, Any]], bool]:
    """Whether one answer holds a row of the world."""
    home = world.rows("workspace")[0]["id"]
    since = world.now - timedelta(days=30)
    if table != "execution_receipts":
        return lambda row: row.get("workspace_id", home) == home
    return lambda row: row["workspace_id"] == home and datetime.fromisoformat(row["started_at"]) >= since


def check_equal(world: World, table: str, *, kept: bool = False) -> None:
    """Compare what the warehouse holds with the world; ``kept`` where it may hold what has left the window."""
    kind = OPTIONAL_KINDS[table]
    found = {
        key: {n: _comparable(n, v) for n, v in row.items() if n not in NOT_COMPARED}
        for key, row in stored(table, where="deleted_at is null").items()
    }
    wanted = {r["id"]: expected(kind, r) for r in filter(is_served(world, table), world.rows(kind))}
    assert wanted
    assert ({key: found.get(key) for key in wanted} if kept else found) == wanted


def test_every_optional_table_holds_what_the_world_holds_and_a_quiet_night_writes_nothing(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box:
        first = sync(box, list(OPTIONAL_TABLES))
        assert (first.exit_code, {t.error or t.note for t in first.tables.values()}) == (0, {None})
        for table in OPTIONAL_KINDS:
            check_equal(box.world, table)

        quiet = sync(box, list(OPTIONAL_TABLES))
        written = {n: (t.rows_new, t.rows_changed, t.rows_deleted) for n, t in quiet.tables.items()}
        assert written == dict.fromkeys(OPTIONAL_TABLES, (0, 0, 0))
        assert {name: t.requests for name, t in quiet.tables.items()} == dict.fromkeys(OPTIONAL_TABLES, 1)
        assert quiet.requests == 1 + len(OPTIONAL_TABLES)
        assert {name: t.verdict for name, t in quiet.tables.items()} == dict.fromkeys(
            OPTIONAL_TABLES, "uncertified"
        ) | {"runs": "certified"}


def test_changes_arrive_with_their_history_and_what_leaves_a_window_stays() -> None:
    with Sandbox(World("small")) as box:
        stamp = "2026-04-13T05:00:00.000Z"
        box.world.insert("session", id="kept", run_id=None, status="blocked", started_at=stamp, updated_at=stamp)
        box.world.insert(
            "handoff", id="kept", title="Take over", status="escalated", created_at=stamp, updated_at=stamp
        )
        sync(box, list(OPTIONAL_TABLES))
        old = {table: len(stored(table)) for table in OPTIONAL_KINDS}
        box.world.advance(days=3)
        for row in [row for row in box.world.rows("session") if row["id"] != "kept"][:3]:
            box.world.delete("session", row["id"])
        box.world.edit("session", "kept", blocker_reason="copy is missing", updated_at="2026-04-16T06:00:00.000Z")
        box.world.edit("handoff", "kept", status="returned")
        report = sync(box, list(OPTIONAL_TABLES))
        assert report.exit_code == 0, report.to_json()
        for table in OPTIONAL_KINDS:
            check_equal(box.world, table, kept=table in ("sessions", "execution_receipts"))
            assert query(f"select count(*) from orgx.{table} where deleted_at is not null") == [(0,)]
            assert len(stored(table)) >= old[table]
            if TABLES[table].keeps_history:
                versions = query(f"select count(*), count(distinct id) from orgx.{table}_history")[0]
                assert versions[1] == len(stored(table))
                assert versions[0] == versions[1] + report.tables[table].rows_changed
        assert report.tables["handoffs"].rows_changed
        assert report.tables["sessions"].rows_changed


def test_a_run_that_orgx_deletes_is_marked() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["runs"])
        gone = box.world.rows("run")[0]["id"]
        box.world.delete("run", gone)
        assert sync(box, ["runs"]).tables["runs"].rows_deleted == 1
        assert query("select id from orgx.runs where deleted_at is not null") == [(gone,)]


def test_usage_equals_the_sum_over_the_receipts_within_what_is_rounded() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["execution_receipts", "usage"])
    month = "completed_at >= timestamptz '2026-04-01 00:00:00Z'"
    runs, tokens, cents = query(
        f"select count(*), sum(tokens_used), sum(cost_estimate_cents) from orgx.execution_receipts where {month}"
    )[0]
    rows = query("select breakdown, sum(runs), sum(tokens), sum(cost_cents), count(*) from orgx.usage group by 1")
    assert {row[0] for row in rows} == {"total", "provider", "source_client", "model"}
    for _, told_runs, told_tokens, told_cents, parts in rows:
        assert (told_runs, told_tokens) == (runs, tokens)
        # Each part is rounded to a cent.
        assert abs(float(told_cents) - cents) <= parts / 2
    assert cents > 0


# Every table with one status, and one table with every status: in no other way do they differ.
@pytest.mark.parametrize(
    ("table", "status"),
    [
        ("sessions", 401), ("sessions", 403), ("sessions", 404), ("execution_receipts", 403), ("work_receipts", 403),
        ("usage", 403), ("handoffs", 403),
    ],
)  # fmt: skip
def test_a_closed_door_is_a_note_and_is_asked_again_after_seven_days(table: str, status: int) -> None:
    paths = {
        "sessions": ["/api/client/live/sessions"], "execution_receipts": ["/api/v1/execution"],
        "work_receipts": ["/api/v1/work-ledger"], "usage": ["/api/usage"],
        "handoffs": ["/api/client/handoffs", "/api/v1/handoffs"],
    }[table]  # fmt: skip
    with Sandbox(World("small"), faults=[Fault("closed", status, path=path) for path in paths]) as box:
        first = sync_at(box, TODAY, [table])
        found = first.tables[table]
        assert (first.exit_code, first.status, found.error, found.verdict) == (0, "ok", None, None)
        assert (found.note or "").startswith("not open to this key since 2026-04-13 (")
        assert f"({status})" in (found.note or "")
        remembered = sync_at(box, TODAY + timedelta(days=6), [table])
        assert (remembered.requests, remembered.tables[table].requests) == (1, 0)
        assert "since 2026-04-13" in (remembered.tables[table].note or "")
        again = sync_at(box, TODAY + timedelta(days=8), [table])
        assert again.tables[table].requests >= 1
        assert "since 2026-04-13" in (again.tables[table].note or "")
        box.heal()
        opened = sync_at(box, TODAY + timedelta(days=16), [table])
        assert (opened.exit_code, opened.tables[table].note) == (0, None)
        assert opened.tables[table].rows_new > 0
        assert opened.tables[table].closed_routes == []


def test_a_table_that_closes_later_keeps_its_rows_and_full_asks_at_once() -> None:
    with Sandbox(World("small")) as box:
        sync_at(box, TODAY, ["sessions"])
        before = stored("sessions")
        box.inject(Fault("closed", 403, path="/api/client/live/sessions"))
        closed = sync_at(box, TODAY + timedelta(days=1), ["sessions"])
        assert "since 2026-04-14" in (closed.tables["sessions"].note or "")
        assert (closed.exit_code, stored("sessions")) == (0, before)
        box.heal()
        assert sync(box, ["sessions"], full=True).tables["sessions"].note is None


@pytest.mark.marts
def test_every_command_says_that_a_table_is_not_open_and_none_fails() -> None:
    with Sandbox(World("small"), faults=[Fault("closed", 403, path="/api/usage")]) as box:
        config = load_config(api_key=box.api_key, base_url=box.url)
        check = run_check(config, pipeline(), tables=["tasks", "usage"])
        assert (check.exit_code, (check.tables["usage"].note or "")[:20]) == (0, "not open to this key")
        plan = run_plan(config, pipeline(), tables=["tasks", "usage"])
        assert (plan.exit_code, plan.tables["usage"].requests, plan.tables["usage"].because[:8]) == (0, 0, "not open")
        sync(box, ["tasks", "usage"])
        asked = run_plan(config, pipeline(), tables=["usage"]).asked
        assert asked == 1
        status = read_status(pipeline(), timedelta(days=1))
        assert "usage" not in status.stale
        assert (status.tables["usage"].note or "").startswith("not open to this key since")
        assert status.runs[0].failed == []
        verify = run_verify(config, pipeline(), tables=["usage"])
        assert (verify.exit_code, verify.tables["usage"].reasons) == (0, ["not open to this key"])
    health = "select last_verdict, not_open, last_error from orgx_marts.sync_health where table_name = 'usage'"
    assert (query(health)[0][0], query(health)[0][1][:20], query(health)[0][2]) == (None, "not open to this key", None)


def test_a_door_that_is_only_broken_is_an_error_also_for_an_optional_table() -> None:
    with Sandbox(World("small"), faults=[Fault("wrong_envelope", path="/api/usage/control-plane")]) as box:
        report = sync(box, ["usage"])
    assert report.exit_code != 0
    assert report.tables["usage"].note is None


def test_runs_come_through_the_second_door_and_are_one_run_where_the_ids_show_it() -> None:
    with Sandbox(World("small")) as box:
        first = sync_at(box, TODAY, ["runs"])
        box.inject(Fault("closed", 403, path="/api/entities", entity="run"))
        second = sync_at(box, TODAY + timedelta(days=1), ["runs"])
        found = second.tables["runs"]
        assert (found.route, found.rows_new, found.rows_changed, second.exit_code) == ("/api/v1/runs", 0, 0, 0)
        assert "may be truncated" in " ".join(found.reasons)
        third = sync_at(box, TODAY + timedelta(days=2), ["runs"])
        assert third.tables["runs"].requests == 1
        box.heal()
        last = sync_at(box, TODAY + timedelta(days=9), ["runs"])
        assert (last.tables["runs"].route, last.tables["runs"].verdict) == (RUNS, "certified")
        assert first.tables["runs"].rows_in_warehouse == last.tables["runs"].rows_in_warehouse


def test_handoffs_of_two_doors_without_an_id_in_common_are_all_kept() -> None:
    with Sandbox(World("small")) as box:
        sync_at(box, TODAY, ["handoffs"])
        one = stored("handoffs")
        box.inject(Fault("closed", 403, path="/api/client/handoffs"))
        second = sync_at(box, TODAY + timedelta(days=1), ["handoffs"])
        assert second.exit_code == 0
        assert any("no ids in common" in reason for reason in second.tables["handoffs"].reasons)
        assert len(stored("handoffs", where="deleted_at is null")) == 2 * len(one)
        box.heal()
        assert sync_at(box, TODAY + timedelta(days=9), ["handoffs"]).exit_code == 0
        assert len(stored("handoffs", where="deleted_at is null")) == 2 * len(one)


def test_more_new_rows_than_a_route_lists_become_one_kind_once_both_are_met() -> None:
    """A window with new rows only looks like a route with ids of its own."""
    world = World("small")
    with Sandbox(world) as box:
        sync_at(box, TODAY, ["runs"])
        sample = world.rows("run")[0]
        box.inject(Fault("closed", 403, path="/api/entities", entity="run"))
        world.now += timedelta(days=3)
        stamp = world.now.isoformat()
        for number in range(130):
            times = {"created_at": stamp, "started_at": stamp, "updated_at": stamp, "completed_at": None}
            world.insert("run", **sample | times | {"id": f"new-{number}"})
        window = sync_at(box, TODAY + timedelta(days=3), ["runs"]).tables["runs"]
        assert any("no ids in common" in reason for reason in window.reasons)
        box.heal()
        world.delete("run", sample["id"])
        later = sync_at(box, TODAY + timedelta(days=11), ["runs"]).tables["runs"]
        assert (later.verdict, later.rows_deleted, later.reasons) == ("certified", 1, [])
        assert query("select id from orgx.runs where deleted_at is not null") == [(sample["id"],)]
        assert query("select count(*) from orgx.runs where deleted_at is null") == [(world.count("run"),)]


def test_a_route_that_refuses_in_the_middle_of_a_list_is_asked_again_by_the_next_run() -> None:
    faults = [
        Fault("clamp", 40, path="/api/entities", entity="run"),
        Fault("closed", 404, path="/api/entities", entity="run", after=2, times=1),
    ]
    with Sandbox(World("small"), faults=faults) as box:
        first = sync_at(box, TODAY, ["runs"]).tables["runs"]
        assert (first.route, first.verdict) == ("/api/v1/runs", "uncertified")
        second = sync_at(box, TODAY + timedelta(days=1), ["runs"]).tables["runs"]
        assert (second.route, second.verdict) == (RUNS, "certified")
        check_equal(box.world, "runs")


def test_no_preview_token_is_in_a_table_or_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with Sandbox(World("small")) as box:
        assert sync(box, ["runs"]).exit_code == 0
        box.inject(Fault("closed", 403, path="/api/entities", entity="run"))
        sync(box, ["runs"], full=True)
        box.inject(Fault("truncated", path="/api/v1/runs"))
        broken = sync(box, ["runs"], full=True)
    names = query("select column_name from information_schema.columns where table_name like 'runs%'")
    assert not [name for (name,) in names if "token" in name]
    told = query("select cast(runs as text) from orgx.runs")
    assert not [row for (row,) in told if "prv_" in row]
    assert "prv_" not in json.dumps(broken.to_json()) + caplog.text
    assert b"prv_" not in DATABASE.read_bytes()


def test_costs_of_every_shape_are_kept_and_only_numbers_with_a_unit_are_numbers() -> None:
    world = World("small")
    for row in world.rows("execution_receipt"):
        world.delete("execution_receipt", row["id"])
    home, stamp = world.rows("workspace")[0]["id"], "2026-04-12T06:00:00.000Z"
    shapes: dict[str, dict[str, Any]] = {
        "cents": {"cost_estimate_cents": 12.5}, "text": {"cost_estimate_cents": "12"},
        "micros": {"totalMicros": "125000"}, "unstated": {"cost": 0.3},
        "negative": {"cost_estimate_cents": -4}, "nothing": {},
    }  # fmt: skip
    for row_id, shape in shapes.items():
        world.insert("execution_receipt", id=row_id, workspace_id=home, started_at=stamp, completed_at=stamp,
                     run_id=None, tokens_used=1, cost_estimate_cents=shape.get("cost_estimate_cents"),
                     **{k: v for k, v in shape.items() if k != "cost_estimate_cents"})  # fmt: skip
    with Sandbox(world) as box:
        assert sync(box, ["execution_receipts"]).exit_code == 0
    found = stored("execution_receipts")
    assert {key: row.get("cost_estimate_cents") for key, row in found.items()} == {
        "cents": 12.5, "negative": -4, "text": None, "micros": None, "unstated": None, "nothing": None,
    }  # fmt: skip
    assert found["text"]["cost_estimate_cents__v_text"] == "12"
    assert (found["micros"]["total_micros"], found["unstated"]["cost_unstated"]) == ("125000", 0.3)


def test_a_quiet_night_with_all_doors_open_is_one_request_more_per_table_and_the_plan_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ORGX_OPTIONAL_TABLES")
    with Sandbox(World("medium")) as box:
        # A day on which runs of this machine look at old rows of the same tables.
        first = sync(box, sample=0)
        assert (first.exit_code, list(first.tables)) == (0, list(TABLES))
        config = load_config(api_key=box.api_key, base_url=box.url, sample=0)
        plan = run_plan(config, pipeline())
        quiet = sync(box, sample=0)
        assert {n: t.requests for n, t in plan.tables.items()} == {n: t.requests for n, t in quiet.tables.items()}
        assert (plan.requests, quiet.requests) == (10 + len(OPTIONAL_TABLES),) * 2
        assert sum(t.rows_new + t.rows_changed + t.rows_deleted for t in quiet.tables.values()) == 0


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("none", []),
        ("runs, usage", ["runs", "usage"]),
        ('["usage", "runs"]', ["runs", "usage"]),
        ("all", [*OPTIONAL_TABLES]),
    ],
)
def test_the_settings_leave_optional_tables_out(setting: str, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ORGX__OPTIONAL_TABLES", setting)
    config = load_config(api_key="oxk_12345678")
    assert [name for name in config.table_names() if TABLES[name].optional] == read
    assert config.table_names(["usage"]) == ["usage"]
