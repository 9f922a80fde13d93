"""Requests to an authorization server: whatever it sends, or the environment sets, ends in one sentence, in time."""

from __future__ import annotations

import socket

import pytest

from orgx_source.api.mcp import connect_with
from orgx_source.errors import ConfigError, ConnectionFailedError
from orgx_source.login import server
from orgx_source.login.server import discover
from tests.unit.raw_server import RawServer, answer, endless, head

MCP = "https://mcp.example.com/mcp"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SSL_CERT_FILE", "/nowhere/certificates.pem", "certificates to trust cannot be loaded"),
        ("ALL_PROXY", "socks://127.0.0.1:7890/", "proxy in ALL_PROXY cannot be used"),
        ("HTTPS_PROXY", "http://[bad", "proxy in HTTPS_PROXY cannot be used"),
    ],
)
def test_the_environment_is_named_when_it_is_wrong(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=sentence):
        discover(MCP)


@pytest.mark.parametrize(
    ("sent", "kind", "sentence"),
    [
        (answer(b"[" * 200_000), ConfigError, "has no authorization server"),
        (answer(b'{"authorization_servers": ["http://[bad"]}'), ConfigError, "base URL is not valid"),
        (answer(b'{"authorization_servers": ["ftp://example.com"]}'), ConfigError, "must look like"),
        (answer(b'{"authorization_servers": ["http://example.com"]}'), ConfigError, "would expose the key"),
        (answer(b'{"authorization_servers": ["https://a\\u0000b"]}'), ConfigError, "no valid host name"),
        (answer(b"none", "content-encoding: gzip"), ConfigError, "is not valid gzip"),
        (answer(b"{}", status="429 Too Many Requests"), ConnectionFailedError, "429 from .*try again later"),
        (b"", ConnectionFailedError, "cannot be reached"),
    ],
)
def test_whatever_the_server_sends_is_one_sentence(sent: bytes, kind: type[Exception], sentence: str) -> None:
    with RawServer(lambda connection: connection.sendall(sent)) as raw, pytest.raises(kind, match=sentence):
        discover(f"{raw.url}/mcp")


def test_an_endless_document_is_refused() -> None:
    with RawServer(endless) as raw, pytest.raises(ConfigError, match="more than 1 MiB"):
        discover(f"{raw.url}/mcp")


def test_a_document_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TIMEOUT_SECONDS", 0.5)

    def drip(connection: socket.socket) -> None:
        connection.sendall(head())
        raw.drip(connection, b" ")

    with RawServer(drip) as raw, pytest.raises(ConnectionFailedError, match="timed out"):
        discover(f"{raw.url}/mcp")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "ALL_PROXY"])
def test_a_session_names_the_environment_too(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "socks://127.0.0.1:7890/")
    with pytest.raises(ConfigError, match=variable):
        connect_with(1_000)(MCP)
