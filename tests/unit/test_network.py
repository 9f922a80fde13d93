"""Answers that never end, that are too large or broken, and what stands between here and OrgX."""

from __future__ import annotations

import gzip
import os
import random
import socket
import ssl
import time
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.http import HttpTransport
from orgx_source.api.limits import RateBudget, RetryPolicy
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import ROUTES
from orgx_source.config import OrgxConfig
from orgx_source.errors import (
    AnswerTooLargeError,
    ConfigError,
    ConnectionFailedError,
    EnvelopeError,
    OrgxError,
    ServerError,
)
from orgx_source.texts import visible
from orgx_source.web.network import OverdueError, Patience, PatientBackend, find_proxy
from tests.running import FakeTime
from tests.unit.raw_server import RawServer, answer, flood, head, reset, wait_for_the_end

KEY = "oxk_0123456789abcdef"
TASKS = ROUTES["tasks"][0]
FUZZED = max(20, int(os.environ.get("ORGX_EXAMPLES", "2000")) // 10)
GOOD = b'{"data": [{"id": "good"}], "pagination": {"total": 1}}'


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("SSL_CERT"):
            monkeypatch.delenv(name)


def transport(url: str, **settings: Any) -> HttpTransport:
    return HttpTransport(OrgxConfig(api_key=KEY, base_url=url, **{"request_timeout": 20.0, **settings}))


def ask(server: RawServer, **settings: Any) -> list[str]:
    """Return the ids of a page."""
    door = transport(server.url, **settings)
    try:
        return [str(row["id"]) for row in door.fetch_page(TASKS, PageQuery()).rows]
    finally:
        door.close()


DRIPS: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "blanks in the body": (head("content-length: 100000"), b" "),
    "letters of a header": (b"HTTP/1.1 200 OK\r\nx: ", b"x"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
    "status line": (b"HTTP/1.1 200 O", b"K"),
    "chunks": (head("transfer-encoding: chunked"), b"1\r\n \r\n"),
    "size of a chunk": (head("transfer-encoding: chunked"), b"0"),
    "a body without a length": (head("connection: close"), b" "),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "headers of an error": (b"HTTP/1.1 503 Unavailable\r\n", b"x: y\r\n"),
    "body of an error": (head("content-length: 100000", status="503 Unavailable"), b" "),
    "body of a redirect": (head("content-length: 100000", "location: /x", status="302 Found"), b" "),
}


@pytest.mark.parametrize("drip", DRIPS)
def test_an_answer_that_drips_is_given_up_after_a_while(drip: str) -> None:
    begin, piece = DRIPS[drip]

    def behave(connection: socket.socket) -> None:
        connection.sendall(begin)
        server.drip(connection, piece)

    with RawServer(behave) as server:
        began = time.monotonic()
        with pytest.raises(ConnectionFailedError) as failed:
            ask(server, request_timeout=0.3)
        assert time.monotonic() - began < 5
    assert failed.value.retryable and failed.value.exit_code == 4
    assert "within 0.3 s" in str(failed.value) or "closed the connection" in str(failed.value), failed.value


def test_interim_answers_without_end_are_given_up_however_fast_they_come() -> None:
    endless = RawServer(lambda connection: flood(connection, b"HTTP/1.1 100 Continue\r\n\r\n" * 100))
    with endless, pytest.raises(ConnectionFailedError, match=r"within 0\.3 s"):
        ask(endless, request_timeout=0.3)


def test_an_answer_that_drips_is_asked_for_again() -> None:
    slow = iter([True, True])

    def behave(connection: socket.socket) -> None:
        connection.sendall(answer(GOOD)[:-1])
        if next(slow, False):
            wait_for_the_end(connection)
        connection.sendall(GOOD[-1:])

    fake = FakeTime()
    with RawServer(behave) as server:
        door = transport(server.url, request_timeout=0.2)
        budget = RateBudget(clock=fake.clock, sleep=fake.sleep)
        with OrgxClient(door._config, budget=budget, policy=RetryPolicy(), transport=door) as client:
            assert client.fetch_page(TASKS, PageQuery()).total == 1
        assert client.budget.retries >= 2


class Slow:
    """A network of which each step takes as long as it may, and never more than a second less than that."""

    def __init__(self, fake: FakeTime) -> None:
        self.fake = fake
        self.allowed: list[float | None] = []

    def connect_tcp(self, host: str, port: int, timeout: float | None = None) -> Slow:
        return self._step(timeout)

    def start_tls(self, context: Any, name: str | None = None, timeout: float | None = None) -> Slow:
        return self._step(timeout)

    def read(self, most: int, timeout: float | None = None) -> bytes:
        self._step(timeout)
        return b"x"

    def write(self, data: bytes, timeout: float | None = None) -> None:
        self._step(timeout)

    def _step(self, timeout: float | None) -> Slow:
        self.allowed.append(timeout)
        self.fake.sleep(9)
        return self


def test_all_steps_of_a_request_share_one_deadline() -> None:
    fake = FakeTime()
    patience, slow = Patience(fake.clock), Slow(fake)
    with patience.until(50):
        stream = PatientBackend(slow, patience).connect_tcp("h", 1, timeout=10.0)
        stream = stream.start_tls(ssl.create_default_context(), "h", 10.0)
        stream.write(b"x", 10.0)
        stream.read(1, 10.0)
        stream.read(1, None)
        stream.read(1, 10.0)
        with pytest.raises(OverdueError):
            stream.read(1, 10.0)
    assert slow.allowed == [10.0, 10.0, 10.0, 10.0, 14.0, 5.0]
    assert patience.left(10.0) == 10.0


def packed(body: bytes, *codings: str) -> bytes:
    for coding in codings:
        raw = zlib.compressobj(9, wbits=-15)
        body = {
            "gzip": lambda b: gzip.compress(b, 9, mtime=0),
            "deflate": lambda b: zlib.compress(b, 9),
            "raw": lambda b, raw=raw: raw.compress(b) + raw.flush(),
        }[coding](body)
    return body


BLANKS = b" " * 8_000_000
LARGE: dict[str, Callable[[socket.socket], None]] = {
    "without end": lambda c: (c.sendall(head("connection: close")), flood(c, b" " * 65536))[1],
    "chunks without end": lambda c: (
        c.sendall(head("transfer-encoding: chunked")),
        flood(c, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    )[1],
    "with its length": lambda c: c.sendall(answer(BLANKS[:2_000_000])),
    "gzip": lambda c: c.sendall(answer(packed(BLANKS, "gzip"), "content-encoding: gzip")),
    "deflate": lambda c: c.sendall(answer(packed(BLANKS, "deflate"), "content-encoding: deflate")),
    "raw deflate": lambda c: c.sendall(answer(packed(BLANKS, "raw"), "content-encoding: deflate")),
    "gzip twice": lambda c: c.sendall(answer(packed(BLANKS, "gzip", "gzip"), "content-encoding: gzip, gzip")),
}


@pytest.mark.parametrize("large", LARGE)
def test_an_answer_that_is_too_large_is_refused_before_it_fills_the_memory(large: str) -> None:
    with RawServer(LARGE[large]) as server:
        packed(BLANKS[:10], "gzip")
        tracemalloc.start()
        with pytest.raises(AnswerTooLargeError, match="/api/entities returned more than 1 MiB") as refused:
            ask(server, max_answer_bytes=2**20)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(server.heard) == 1
    assert not refused.value.retryable
    if "gzip" not in large and "deflate" not in large:
        assert peak < 8_000_000


def test_a_refusal_is_told_by_its_status_however_large_its_page_is() -> None:
    for behave in (
        lambda c: (c.sendall(head("connection: close", status="503 Busy") + b"<html>busy"), flood(c, b" " * 65536)),
        lambda c: c.sendall(answer(packed(BLANKS, "gzip"), "content-encoding: gzip", status="503 Busy")),
        lambda c: c.sendall(answer(b"no gzip", "content-encoding: gzip", status="503 Busy")),
        lambda c: c.sendall(answer(b"?", "content-encoding: br", status="503 Busy")),
    ):
        with RawServer(behave) as server, pytest.raises(ServerError, match="503 from /api/entities"):
            ask(server)


@pytest.mark.parametrize(
    ("codings", "header"),
    [
        ((), "identity"), (("gzip",), "gzip"), (("gzip",), "x-gzip"), (("deflate",), "deflate"), (("raw",), "deflate"),
        (("deflate", "gzip"), "deflate, gzip"), (("gzip",), "identity, GZIP"),
    ],
)  # fmt: skip
def test_a_packed_answer_is_unpacked(codings: tuple[str, ...], header: str) -> None:
    with RawServer(lambda c: c.sendall(answer(packed(GOOD, *codings), f"content-encoding: {header}"))) as server:
        assert ask(server) == ["good"]


@pytest.mark.parametrize(
    ("body", "header", "says"),
    [
        (GOOD, "gzip", "not valid gzip"),
        (GOOD, "deflate", "not valid deflate"),
        (GOOD, "br", "compressed as br, which was not requested"),
        (packed(GOOD, "gzip")[:-9], "gzip", "truncated"),
        (GOOD, "gzip, gzip, gzip", "compressed 3 times"),
    ],
)
def test_an_answer_that_cannot_be_unpacked_is_an_error(body: bytes, header: str, says: str) -> None:
    server = RawServer(lambda c: c.sendall(answer(body, f"content-encoding: {header}")))
    with server, pytest.raises(EnvelopeError, match=says):
        ask(server)


# -- proxies and certificates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:7890/"),
        ("all_proxy", "socks4://127.0.0.1:7890/"),
        ("HTTPS_PROXY", "http://[::1"),
        ("https_proxy", "http://proxy:port"),
        ("HTTPS_PROXY", "http://proxy:99999"),
        ("HTTPS_PROXY", "http://"),
        ("HTTPS_PROXY", "ftp://proxy.test"),
        ("HTTPS_PROXY", "http://me:s3cret@[proxy"),
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("SSL_CERT_FILE", "/does/not/exist.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_DIR", "/does/not/exist"),
        ("SSLKEYLOGFILE", "/does/not/exist/keys"),
    ],
)
def test_a_setting_of_the_environment_that_cannot_be_used_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=variable) as refused:
        OrgxClient(OrgxConfig(api_key=KEY, base_url="https://orgx.test"))
    assert "s3cret" not in str(refused.value)
    # Nothing of it concerns a server on this machine.
    OrgxClient(OrgxConfig(api_key=KEY, base_url="http://127.0.0.1:1")).close()


@pytest.mark.parametrize(
    ("url", "environment", "variable"),
    [
        ("https://orgx.test", {"HTTPS_PROXY": "http://p:1"}, "HTTPS_PROXY"),
        ("https://orgx.test", {"https_proxy": "p:1"}, "https_proxy"),
        ("https://orgx.test", {"ALL_PROXY": "http://p:1"}, "ALL_PROXY"),
        ("https://orgx.test", {"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://q:1"}, "HTTPS_PROXY"),
        ("https://orgx.test", {"HTTP_PROXY": "http://p:1"}, None),
        ("https://orgx.test", {"HTTPS_PROXY": ""}, None),
        ("https://orgx.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.test, .orgx.test"}, None),
        ("https://orgx.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://orgx.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "gx.test"}, "HTTPS_PROXY"),
        *((url, {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"}, None)
          for url in ("http://127.0.0.1:8", "http://127.8.9.1", "http://localhost:8", "https://LocalHost",
                      "http://[::1]:8", "https://127.0.0.1", "http://[::ffff:127.0.0.1]")),
    ],
)  # fmt: skip
def test_which_proxy_is_used(
    url: str, environment: dict[str, str], variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = find_proxy(url)
    assert (found and found.variable) == variable
    assert found is None or str(found) == f"the proxy http://p:1 ({variable})"


def test_the_key_goes_to_loopback_and_not_to_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(lambda c: c.sendall(answer(b"{}"))) as proxy, RawServer(lambda c: c.sendall(answer(GOOD))) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert ask(server) == ["good"]
        assert proxy.heard == []


def through(monkeypatch: pytest.MonkeyPatch, proxy: str, **settings: float) -> OrgxError:
    """Return how a request through a proxy fails."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:s3cret@{proxy}")
    door = transport("https://orgx.test", **settings)
    try:
        with pytest.raises(OrgxError) as failed:
            door.bootstrap()
    finally:
        door.close()
    assert "s3cret" not in str(failed.value)
    return failed.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("407 Proxy Authentication Required", ConfigError),
        ("403 Forbidden", ConfigError),
        ("302 Found", ConfigError),
        ("502 Bad Gateway", ConnectionFailedError),
        ("503 \x1b[31mBusy", ConnectionFailedError),
        ("429 Slow", ConnectionFailedError),
    ],
)
def test_a_proxy_that_refuses_is_named(status: str, kind: type[OrgxError], monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(lambda c: c.sendall(answer(b"", status=status))) as proxy:
        failure = through(monkeypatch, proxy.address)
        assert KEY.encode() not in b"".join(proxy.heard)
    assert isinstance(failure, kind)
    if "\x1b" not in status:
        assert str(failure).startswith(f"the proxy {proxy.url} (HTTPS_PROXY)") and status in str(failure)


def test_a_proxy_that_is_down_or_silent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(wait_for_the_end) as proxy:
        silent = through(monkeypatch, proxy.address, request_timeout=0.3)
    down = through(monkeypatch, proxy.address)
    assert isinstance(down, ConnectionFailedError) and isinstance(silent, ConnectionFailedError)
    assert str(down).startswith(f"the proxy {proxy.url} (HTTPS_PROXY) could not be reached")
    assert f"the proxy {proxy.url} (HTTPS_PROXY)" in str(silent)


# -- anything at all ------------------------------------------------------------------------------------------------


STATUSES = [
    "200 OK", "200 OK", "204 No", "206 Part", "304 Same", "302 Found", "401 No", "429 Slow", "500 Bad", "999 ?",
    "20 OK", "OK", "101 Switch", "100 Go on",
]  # fmt: skip


def some_bytes(rng: random.Random) -> bytes:
    """Return an answer that is nearly right."""
    bodies = [GOOD, b"", b"{", b"null", b'{"data": null}', b"\xff\xfe\x00", GOOD[:-5], b"[" * 3000, rng.randbytes(300)]
    body, encoding = rng.choice(bodies), rng.choice(["", "", "gzip", "deflate", "br", "gzip, gzip", "\x80"])
    if encoding == "gzip" and rng.random() < 0.7:
        body = gzip.compress(body)
    status = rng.choice(STATUSES)
    length = rng.choice([len(body), len(body), len(body) + 7, max(0, len(body) - 3), -1, 10**18, "ten", "1, 2"])
    headers = [rng.choice([f"content-length: {length}", "transfer-encoding: chunked", "connection: close"])]
    headers += rng.sample(
        [
            f"content-encoding: {encoding}", "content-length: 5", "location: //[", "location: /x", "date: yesterday",
            "retry-after: -1", "date: Fri, 99 Foo 99999 99:99:99 +9999", "x-ratelimit-reset: 9e99", "set-cookie: ;=;",
            "content-type: \x9b[31m", "x: " + "y" * rng.choice([10, 120_000]), ": nameless", "no colon",
        ],
        rng.randrange(4),
    )  # fmt: skip
    if "chunked" in headers[0] and rng.random() < 0.7:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    sent = bytearray(f"HTTP/1.1 {status}\r\n".encode() + "\r\n".join([*headers, "", ""]).encode("latin-1") + body)
    for _ in range(rng.choice([0, 0, 1, 5])):
        sent[rng.randrange(len(sent))] = rng.randrange(256)
    sent += rng.choice([b"", b"", answer(GOOD), rng.randbytes(50)])
    return bytes(rng.choice([b"", b"", b"", b"HTTP/1.1 100 Go on\r\n\r\n", b"\r\n\r\n"]) + sent)


def test_whatever_a_server_sends_ends_in_rows_or_in_an_error_of_ours() -> None:
    rng = random.Random(0)

    def behave(connection: socket.socket) -> None:
        sent = some_bytes(rng)
        cut = rng.randrange(len(sent)) if rng.random() < 0.2 else len(sent)
        connection.sendall(sent[: cut // 2])
        connection.sendall(sent[cut // 2 : cut])
        end = rng.random()
        if end < 0.02:
            wait_for_the_end(connection)
        elif end < 0.2:
            reset(connection)

    with RawServer(behave) as server:
        door = transport(server.url, request_timeout=0.2)
        for seed in range(FUZZED):
            rng.seed(seed)
            began = time.monotonic()
            try:
                door.fetch_page(TASKS, PageQuery()) if seed % 3 else door.bootstrap()
            except OrgxError as error:
                assert visible(str(error)) == str(error), (seed, str(error))
            except Exception as error:
                raise AssertionError(f"seed {seed}") from error
            assert time.monotonic() - began < 10, seed
        # Nothing of it keeps a connection from the next who asks.
        server.behave = lambda connection: connection.sendall(answer(GOOD, "connection: close"))
        found: list[Any] = []
        for _ in range(5):
            with suppress(OrgxError):
                found += door.fetch_page(TASKS, PageQuery()).rows
        assert {"id": "good"} in found
        door.close()
