"""Numbers do not depend on the reader's time zone: data across a change to daylight saving time, read in four zones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from orgx_source.commands.export import export_tables
from orgx_source.html_report import write_report
from orgx_source.marts import load_marts
from orgx_source.notebook import open_marts
from orgx_source.sandbox import Sandbox, World
from orgx_source.sync import run_sync
from tests import running
from tests.running import DATABASE, fast_client, pipeline

pytestmark = pytest.mark.marts

# In New York, daylight saving time starts on 8 March 2026; Apia is a day ahead of New York.
ELSEWHERE = ["America/New_York", "Asia/Kolkata", "Pacific/Apia"]
Rows = list[tuple[Any, ...]]


def fill() -> None:
    """Sync three times, sixteen days apart, at 04:30 UTC: 23:30 or 00:30 in New York."""
    world = World("small", start=datetime(2026, 2, 14, 4, 30, tzinfo=UTC))
    with Sandbox(world) as box:
        for step in range(3):
            if step:
                world.advance(days=16)
            client = fast_client(box)
            report = run_sync(client.config, pipeline(), client=client, clock=lambda: world.now)
            assert report.exit_code == 0, report.to_json()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Yield a patch that sets the time zone of this process, and restore the zone afterwards."""
    with monkeypatch.context() as moving:
        yield moving
    time.tzset()


def move(here: pytest.MonkeyPatch, zone: str) -> None:
    for name in ("TZ", "PGTZ"):
        here.setenv(name, zone)
    time.tzset()


def read_in(zone: str, sql: str) -> Rows:
    """Return the result of a query in a session with a time zone, with times in UTC."""
    if running._postgres is None:
        with duckdb.connect(str(DATABASE), read_only=True) as file:
            rows = file.execute(f"set timezone = '{zone}'").execute(sql).fetchall()
    else:
        connection = psycopg2.connect(running._postgres, options=f"-c timezone={zone}")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql)
                rows = cursor.fetchall()
        finally:
            connection.close()
    return [tuple(map(comparable, row)) for row in rows]


def comparable(value: Any) -> Any:
    """Return a time in UTC, and a float rounded to 9 digits, because databases sum in any order."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return round(value, 9) if isinstance(value, float) else value


def read_marts_in(zone: str) -> dict[str, Rows]:
    marts = load_marts().values()
    return {m.name: read_in(zone, f"select * from orgx_marts.{m.name} order by {', '.join(m.key)}") for m in marts}


def told_here(warehouse: str) -> list[Any]:
    """Return the output of this process: the report, exported files, and results in a notebook."""
    write_report(pipeline(), Path("report.html"))
    views = list(load_marts())
    files = [file.path for file in export_tables(pipeline(), Path("out"), "csv", views)]
    marts = open_marts(str(DATABASE), warehouse)
    days = "select cast(asked_at as date) as day, count(*) as n from marts.decision_latency group by 1 order by 1"
    return [
        Path("report.html").read_text(),
        {path.name: sorted(path.read_text().splitlines()) for path in files},
        marts.frame("agent_timeline").to_csv(),
        marts.query(days).to_csv(),
    ]


def test_every_number_is_the_same_in_every_zone(each_warehouse: str, here: pytest.MonkeyPatch) -> None:
    fill()
    in_utc = read_marts_in("UTC")
    assert in_utc["agent_timeline"] and in_utc["decision_latency"] and in_utc["org_daily"]
    for zone in ELSEWHERE:
        for name, rows in read_marts_in(zone).items():
            assert rows == in_utc[name], f"{name} in {zone}"
    told = []
    for zone in ("UTC", "America/New_York"):
        move(here, zone)
        told.append(told_here(each_warehouse))
    for there, elsewhere in zip(*told, strict=True):
        assert there == elsewhere
