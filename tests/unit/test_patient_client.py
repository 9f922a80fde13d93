"""What is sent to PostgreSQL when a connection begins, also through a pool that takes no options."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from dlt.destinations import postgres
from dlt.destinations.impl.postgres.configuration import PostgresCredentials

from orgx_source.warehouse.duckdb_file import LockPatience
from orgx_source.warehouse.postgres_copy import PatientClient


class Server:
    """Takes connections, or refuses startup options as pgbouncer does."""

    def __init__(self, *, is_pool: bool) -> None:
        self.is_pool = is_pool
        self.options: list[str | None] = []

    def connect(self, dsn: str, options: str | None = None) -> Any:
        self.options.append(options)
        if options is not None and self.is_pool:
            raise psycopg2.OperationalError("FATAL:  unsupported startup parameter: options")
        return SimpleNamespace(reset=lambda: None, close=lambda: None, commit=lambda: None, rollback=lambda: None)


def open_client(monkeypatch: pytest.MonkeyPatch, server: Server, options: str = "") -> tuple[PatientClient, list[str]]:
    monkeypatch.setattr(psycopg2, "connect", server.connect)
    credentials = PostgresCredentials("postgresql://u:p@warehouse.example/db" + (f"?options={options}" * bool(options)))
    client, sent = PatientClient("orgx", "orgx_staging", credentials, postgres().capabilities()), list[str]()
    client.patience = LockPatience(2.5)
    monkeypatch.setattr(client, "execute_sql", sent.append)
    client.open_connection()
    return client, sent


def test_a_server_is_told_at_the_start_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(is_pool=False)
    client, sent = open_client(monkeypatch, server)
    with client.begin_transaction():
        pass
    (options,) = server.options
    assert "-clock_timeout=2500" in str(options) and sent == []


def test_a_pool_is_told_in_each_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(is_pool=True)
    client, sent = open_client(monkeypatch, server)
    with client.begin_transaction():
        pass
    client.open_connection()
    assert [options is None for options in server.options] == [False, True, True]
    assert sent == ["set local lock_timeout = 2500"]


def test_options_that_somebody_set_are_not_dropped_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(psycopg2.OperationalError):
        open_client(monkeypatch, Server(is_pool=True), options="-csome.thing%3D1")


def test_the_wait_is_never_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = open_client(monkeypatch, Server(is_pool=False))
    assert client.patience is not None
    client.patience.waited = client.patience.seconds
    assert client._milliseconds() > 0
    # PostgreSQL takes no larger number.
    client.patience = LockPatience(float("inf"))
    assert client._milliseconds() == 2**31 - 1
