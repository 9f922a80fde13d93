"""Runs against a sandbox, and comparisons of the warehouse with the sandbox's world."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import psycopg2.extras

from orgx_source.api.client import OrgxClient
from orgx_source.api.limits import RateBudget, RetryPolicy
from orgx_source.config import load_config
from orgx_source.reading.report import RunReport
from orgx_source.sandbox import Sandbox, World
from orgx_source.sandbox.world import TYPES
from orgx_source.sync import make_pipeline, run_sync
from orgx_source.tables import TABLES

DATABASE = Path("x.duckdb")
# Whether runs create the marts: set for each test by its marker. They take a third of a first run.
makes_marts = True
# Destination of tests that do not depend on the database; None is DuckDB.
_postgres: str | None = None
# Table to the type of its rows in the world; usage has no row in the world.
KINDS = {name: table.singular for name, table in TABLES.items() if not table.optional}
OPTIONAL_KINDS = {name: table.singular for name, table in TABLES.items() if table.optional and table.singular in TYPES}
# Added by the connector, joined to workspaces from bootstrap, or different in every read.
NOT_OF_THE_WORLD = {
    "_dlt_load_id", "_dlt_id", "_row_hash", "last_changed_at", "deleted_at", "last_seen_at",
    "source_client", "capabilities", "setup", "waiting_minutes",
    # A work receipt's columns have the same values.
    "criteria", "human_judgment",
}  # fmt: skip
JSON_COLUMNS = {
    "metadata", "options", "evidence_refs", "assigned_agent_ids", "assigned_agent_names", "depends_on", "blockers",
    "catalog",
}  # fmt: skip
DATE_COLUMNS = {"start_date", "target_date", "due_date"}


class FakeTime:
    """A clock that advances only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self._lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


def fast_client(box: Sandbox, **settings: Any) -> OrgxClient:
    """Return a client that waits in fake seconds."""
    config = load_config(api_key=box.api_key, base_url=box.url, **{"marts": makes_marts, **settings})
    fake = FakeTime()
    budget = RateBudget(max_requests=config.max_requests, max_wait=config.max_wait, clock=fake.clock, sleep=fake.sleep)
    return OrgxClient(config, budget=budget, policy=RetryPolicy(attempts=5, base_seconds=0.01))


@contextmanager
def on_postgres(server: Any) -> Iterator[None]:
    """Direct runs and queries to a new database on this server, dropped afterwards."""
    global _postgres
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _administer(server, f"create database {name}")
    directory = server.get_uri().partition("host=")[2]
    _postgres = f"postgresql://postgres:none@localhost:5432/{name}?host={directory}"
    os.environ["DESTINATION__POSTGRES__CREDENTIALS"] = _postgres
    try:
        yield
    finally:
        _postgres = None
        del os.environ["DESTINATION__POSTGRES__CREDENTIALS"]
        _administer(server, f"drop database {name} with (force)")


_numbers = itertools.count()


def _administer(server: Any, sql: str) -> None:
    connection = psycopg2.connect(server.get_uri())
    try:
        connection.autocommit = True
        connection.cursor().execute(sql)
    finally:
        connection.close()


def pipeline(database: Path = DATABASE) -> Any:
    """Return the pipeline for the warehouse of this test."""
    return make_pipeline(database=database) if _postgres is None else make_pipeline("postgres")


def sync(box: Sandbox, tables: list[str] | None = None, database: Path = DATABASE, **settings: Any) -> RunReport:
    """Run once."""
    client = fast_client(box, **settings)
    return run_sync(client.config, pipeline(database), tables=tables, client=client)


def query(sql: str, database: Path = DATABASE) -> list[tuple[Any, ...]]:
    """Query the warehouse."""
    return _select(sql, database)[1]


def execute(*statements: str, database: Path = DATABASE) -> None:
    """Change the warehouse without the connector."""
    if _postgres is None:
        with duckdb.connect(str(database)) as connection:
            for sql in statements:
                connection.execute(sql)
        return
    connection = psycopg2.connect(_postgres)
    try:
        with connection, connection.cursor() as cursor:
            for sql in statements:
                cursor.execute(sql)
    finally:
        connection.close()


def _select(sql: str, database: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    if _postgres is None:
        with duckdb.connect(str(database), read_only=True) as connection:
            connection.execute("set timezone = 'UTC'")
            result = connection.execute(sql)
            return [column[0] for column in result.description or ()], result.fetchall()
    connection = psycopg2.connect(_postgres, options="-c timezone=UTC")
    try:
        # As text, like DuckDB's.
        psycopg2.extras.register_default_jsonb(connection, loads=lambda text: text)
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return [column.name for column in cursor.description or ()], cursor.fetchall()
    finally:
        connection.close()


def stored(table: str, database: Path = DATABASE, where: str = "true") -> dict[str, dict[str, Any]]:
    """Return the rows of a table by id, without nulls."""
    names, found_rows = _select(f"select * from orgx.{table} where {where}", database)
    rows = [dict(zip(names, row, strict=True)) for row in found_rows]
    found = {row["id"]: {name: value for name, value in row.items() if value is not None} for row in rows}
    assert len(found) == len(rows), f"{table} has a duplicate id"
    return found


def expected(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return the expected warehouse values of a row of the world: written separately, not taken from `tables`."""
    values: dict[str, Any] = {}
    for key, value in row.items():
        name = {"progress": "progress_pct", "cost": "cost_unstated"}.get(key, key)
        if value is None or name in NOT_OF_THE_WORLD:
            continue
        if name in JSON_COLUMNS:
            values[name] = value
        elif name in DATE_COLUMNS:
            values[name] = date.fromisoformat(value)
        elif name.endswith("_at") or name == "timestamp":
            values[name] = datetime.fromisoformat(value)
        else:
            values[name] = value
    return values


def differences(world: World, database: Path = DATABASE, tables: list[str] | None = None) -> list[str]:
    """Compare every living row of the warehouse with the world, by id and value."""
    problems: list[str] = []
    for table in tables or KINDS:
        living = "true" if table == "activity" else "deleted_at is null"
        found = stored(table, database, living)
        kind = (KINDS | OPTIONAL_KINDS)[table]
        wanted = {row["id"]: expected(kind, row) for row in world.rows(kind)}
        problems += [f"{table}: {row_id} is missing" for row_id in wanted.keys() - found.keys()]
        problems += [f"{table}: {row_id} does not exist" for row_id in found.keys() - wanted.keys()]
        for row_id in wanted.keys() & found.keys():
            row = {name: _comparable(name, value) for name, value in found[row_id].items()}
            row = {name: value for name, value in row.items() if name not in NOT_OF_THE_WORLD}
            if row != wanted[row_id]:
                names = [n for n in row.keys() | wanted[row_id].keys() if row.get(n) != wanted[row_id].get(n)]
                shown = {n: (row.get(n), wanted[row_id].get(n)) for n in names}
                problems.append(f"{table}: {row_id} differs: {shown}")
    return list(itertools.islice(problems, 10))


def _comparable(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if name in JSON_COLUMNS or (isinstance(value, str) and value[:1] in "[{"):
        return json.loads(value)
    return value
