"""One MCP session against a server that misbehaves: no response takes all memory or all night."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orgx_source.api import mcp_session
from orgx_source.api.mcp import Outcome, failure_of
from orgx_source.api.mcp_session import SdkSession
from orgx_source.errors import AnswerTooLargeError
from tests.unit.raw_server import Behave, RawServer, answer, endless, head

MAX_BYTES = 200_000


@contextmanager
def opened(raw: RawServer) -> Iterator[Outcome]:
    session = SdkSession(f"{raw.url}/mcp", MAX_BYTES)
    try:
        yield session.open("token")[0]
    finally:
        session.close(None)


def swollen(connection: socket.socket) -> None:
    connection.sendall(answer(gzip.compress(b" " * 50_000_000), "content-encoding: gzip"))


@pytest.mark.parametrize("behave", [endless, swollen])
def test_a_response_beyond_the_limit_is_rejected_and_not_requested_again(behave: Behave) -> None:
    with RawServer(behave) as raw, opened(raw) as outcome:
        failure = failure_of(outcome, "orgx_search", path="/mcp", host="h")
        assert isinstance(failure, AnswerTooLargeError)
        assert "ORGX_MAX_ANSWER_BYTES" in str(failure)


def test_a_response_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_session, "CALL_SECONDS", 0.5)

    def drip(connection: socket.socket) -> None:
        connection.sendall(head())
        raw.drip(connection, b" ")

    with RawServer(drip) as raw, opened(raw) as outcome:
        assert outcome.status == 0
        assert "timed out" in str(outcome.rpc_error)


def test_a_proxy_of_the_environment_sees_no_token_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with RawServer(lambda connection: connection.sendall(answer(b"{}", status="403 Forbidden"))) as raw:
        with opened(raw) as outcome:
            assert outcome.status == 403
        assert raw.heard
