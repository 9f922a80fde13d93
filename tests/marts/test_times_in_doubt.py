"""An implausible timestamp adds no days and makes no number negative, and times_in_doubt lists it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from orgx_source.marts import apply
from orgx_source.marts.apply import raw_columns
from orgx_source.warehouse.dialect import DUCKDB_FILE, Dialect, Postgres
from tests.running import execute, query

pytestmark = pytest.mark.marts

FIRST, LAST = date(2026, 4, 10), date(2026, 4, 13)
YEARS = ["0001-01-01", "1970-01-01", "2000-01-01", "2017-06-30", "2026-04-15", "2290-01-01", "9999-12-31"]


def tables(dialect: Dialect) -> Iterator[str]:
    """Yield the statements that create the connector's tables, empty, and the marts."""
    yield "create schema orgx"
    for name, columns in raw_columns().items():
        yield f"create table orgx.{name} ({', '.join(f'{c.name} {dialect.sql_type(c.type)}' for c in columns)})"
    present = {name: frozenset(column.name for column in columns) for name, columns in raw_columns().items()}
    yield from apply._Names(dialect, *dialect.namespaces(None, "orgx", "orgx_marts"), present).statements()


def insert(table: str, **values: str) -> str:
    return f"insert into orgx.{table} ({', '.join(values)}) values ({', '.join(repr(v) for v in values.values())})"


@pytest.fixture(autouse=True)
def _organisation(each_warehouse: str) -> None:
    """Create a small warehouse with rows of four days, read once on the last day."""
    read = f"{LAST} 06:00:00+00"
    statements = [
        insert("agents", id="maker", name="Maker", status="idle", last_changed_at=read),
        *(
            insert("sync_log", table_name=name, run_id="r", started_at=read, finished_at=read, verdict="certified")
            for name in ("initiatives", "artifacts", "decisions", "activity")
        ),
    ]
    for number in range(4):
        made, changed = f"2026-04-{10 + number} 01:00:00+00", f"2026-04-{10 + number} 02:00:00+00"
        times = {"created_at": made, "updated_at": changed, "last_changed_at": read}
        started = {"progress_pct": "50", "status": "active"}
        made_by = {"created_by_type": "agent", "created_by_id": "maker", "status": "draft"}
        event = {"type": "run_started", "agent_id": "maker", "timestamp": made}
        version = {"created_at": made, "updated_at": changed, "valid_from": read}
        statements += [
            insert("initiatives", id=f"i{number}", **started, **times),
            insert("initiatives_history", id=f"i{number}", **started, **version),
            insert("artifacts", id=f"a{number}", **made_by, **times),
            insert("decisions", id=f"d{number}", status="pending", agent_id="maker", **times),
            insert("decisions_history", id=f"d{number}", status="pending", **version),
            insert("activity", id=f"e{number}", **event),
        ]
    execute(*tables(DUCKDB_FILE if each_warehouse == "duckdb" else Postgres()), *statements)


def one(sql: str) -> tuple[Any, ...]:
    return query(sql)[0]


def doubts() -> set[tuple[str, str, str]]:
    return {row[:3] for row in query("select entity_id, stamp, reason from orgx_marts.times_in_doubt")}


def test_one_stamp_far_from_all_others_makes_no_days() -> None:
    for year in YEARS:
        moment = f"cast('{year} 12:00:00+00' as timestamptz)"
        execute(
            f"update orgx.activity set timestamp = {moment} where id = 'e0'",
            f"update orgx.artifacts set created_at = {moment} where id = 'a0'",
            f"update orgx.decisions set created_at = {moment}, updated_at = {moment} where id = 'd0'",
            f"update orgx.initiatives set created_at = {moment}, updated_at = {moment} where id = 'i0'",
        )
        reason = "too_late" if year > "2026" else "too_early"
        assert doubts() == {
            ("e0", "timestamp", reason),
            *((entity, stamp, reason) for entity in ("d0", "i0") for stamp in ("created_at", "updated_at")),
            ("a0", "created_at", reason),
        }, year
        told = query("select distinct told_at from orgx_marts.times_in_doubt where stamp <> 'settled_at'")
        assert [row[0].astimezone(UTC) for row in told] == [datetime.fromisoformat(f"{year}T12:00:00+00:00")]
        # The decision counts as asked when it was first seen.
        days = (
            "min(day), max(day), count(distinct day), sum(artifacts_produced), sum(decisions_asked), sum(runs_started)"
        )
        for view in ("org_daily", "agent_throughput_daily"):
            assert one(f"select {days} from orgx_marts.{view}") == (date(2026, 4, 11), LAST, 3, 3, 4, 3), (year, view)
        assert one("select count(*) from orgx_marts.initiative_progress_daily") == (4,)
        ages = "select age_days, days_since_movement from orgx_marts.initiatives_current where initiative_id = 'i0'"
        assert one(ages) == (None, None)
        waits = "select max(hours_waiting) < 100, min(hours_waiting) from orgx_marts.decision_latency"
        assert one(waits) == (True, 0.0)


def test_days_and_doubts_add_up_to_everything() -> None:
    execute(
        "update orgx.activity set timestamp = null where id = 'e0'",
        "update orgx.activity set timestamp = cast('2000-01-01 00:00:00+00' as timestamptz) where id = 'e1'",
        "update orgx.artifacts set created_at = null where id = 'a0'",
        "update orgx.artifacts set created_at = cast('9999-01-01 00:00:00+00' as timestamptz) where id = 'a1'",
    )
    for kind, table, stamp, column in (
        ("activity", "activity", "timestamp", "runs_started"),
        ("artifact", "artifacts", "created_at", "artifacts_produced"),
    ):
        listed = f"entity_type = '{kind}' and stamp = '{stamp}'"
        for view in ("org_daily", "agent_throughput_daily"):
            (on_days,) = one(f"select sum({column}) from orgx_marts.{view}")
            (in_doubt,) = one(f"select count(*) from orgx_marts.times_in_doubt where {listed}")
            assert (on_days, in_doubt) == (2, 2)
            assert one(f"select count(*) from orgx.{table}") == (4,)


def test_an_organisation_that_was_silent_for_years_keeps_its_days() -> None:
    old = "- interval '26280 hours'"
    execute(*(f"update orgx.{name} set created_at = created_at {old}" for name in ("artifacts", "decisions")))
    execute(f"update orgx.activity set timestamp = timestamp {old} where id <> 'e3'")
    assert doubts() == set()
    first, days, made = one("select min(day), count(*), sum(artifacts_produced) from orgx_marts.org_daily")
    assert (first, days, made) == (FIRST - timedelta(days=1095), 1095 + 4, 4)


@pytest.mark.parametrize(
    ("asked", "settled", "expected"),
    [
        # The start of its wait is unknown, so it is open on no day.
        ("2290-01-01 00:00", "2026-04-12 00:00", {("d0", "created_at", "too_late"), ("d0", "asked_at", "missing")}),
        ("2026-04-13 23:00", "2026-04-12 00:00", {("d0", "settled_at", "out_of_order")}),
        ("2026-04-14 03:00", "2026-04-13 05:00", {("d0", "settled_at", "out_of_order")}),
        ("0001-01-01 00:00", "2026-04-10 00:00", {("d0", "created_at", "too_early"), ("d0", "asked_at", "missing")}),
        ("2026-04-10 01:00", "0001-01-01 00:00", {("d0", "resolved_at", "too_early")}),
        ("2026-04-10 01:00", "9999-12-31 00:00", {("d0", "resolved_at", "too_late")}),
    ],
)
def test_no_day_has_fewer_open_decisions_than_none(
    asked: str, settled: str, expected: set[tuple[str, str, str]]
) -> None:
    execute(
        "update orgx.decisions set status = 'approved', resolved_at = updated_at where id in ('d1', 'd2', 'd3')",
        f"update orgx.decisions set created_at = cast('{asked}+00' as timestamptz), status = 'approved', "
        f"resolved_at = cast('{settled}+00' as timestamptz) where id = 'd0'",
    )
    assert doubts() == expected
    waits = "select hours_waiting, is_open from orgx_marts.decision_latency where decision_id = 'd0'"
    hours, is_open = one(waits)
    assert not is_open
    # If OrgX's time of the answer is implausible, the last change of the row is used.
    assert hours == (1.0 if any(stamp == "resolved_at" for _, stamp, _ in expected) else None)
    days = query("select decisions_open from orgx_marts.org_daily order by day")
    assert {row[0] for row in days} == {0}
    assert one("select sum(decisions_settled) from orgx_marts.org_daily") == (4,)


def test_what_is_no_percentage_is_not_known() -> None:
    for told, known in ((250, None), (-3, None), (100, 100.0), (0, 0.0)):
        execute(
            *(f"update orgx.{name} set progress_pct = {told}" for name in ("initiatives", "initiatives_history")),
            f"update orgx.initiatives set health_score = {told}",
        )
        stated = "select distinct progress_pct, progress_raw, health_score from orgx_marts.initiatives_current"
        assert query(stated) == [(known, told, known)]
        stated = "select distinct progress_pct, progress_raw from orgx_marts.initiative_progress_daily"
        assert query(stated) == [(known, told)]


def test_a_due_date_from_before_the_organisation_is_none() -> None:
    long_ago = "2000-01-01"
    execute(
        f"update orgx.artifacts set created_at = cast('{long_ago} 00:00:00+00' as timestamptz) where id = 'a0'",
        f"update orgx.initiatives set target_date = cast('{long_ago}' as date)",
    )
    assert query("select distinct due_on, is_overdue from orgx_marts.initiatives_current") == [(None, False)]
