"""The door for events takes what is signed and nothing else, whatever is thrown at it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orgx_source.config import reread_settings_files
from orgx_source.errors import ConfigError, MachineError
from orgx_source.inbox import app as app_module
from orgx_source.inbox import signature, store
from orgx_source.inbox.app import MAX_BODY, InboxApp
from orgx_source.inbox.events import parse_event
from orgx_source.inbox.service import create_app, serve
from orgx_source.inbox.signature import Signatures, load_secrets, sign
from orgx_source.inbox.store import Inbox
from orgx_source.times import utc_now
from tests.listening import SECRET, body_of, call, door, event, post

EXAMPLES = int(os.environ.get("ORGX_EXAMPLES", "15"))
HEADER = "X-OrgX-Signature"


@contextmanager
def fresh_door(**settings: Any) -> Iterator[InboxApp]:
    for file in Path().glob("x.inbox*"):
        file.unlink()
    with door(**settings) as app:
        yield app


def kept() -> list[str]:
    with sqlite3.connect("x.inbox") as connection:
        return [row[0] for row in connection.execute("select id from events order by number")]


def test_a_signed_event_is_kept_and_answered() -> None:
    with door() as app:
        body = body_of(event("e", note="grüße"))
        assert call(app, body, [(HEADER, sign(body, SECRET))]) == (200, {"received": True, "repeated": False})
        assert call(app, body, [(HEADER, sign(body, SECRET).upper().replace("SHA256", "sha256"))])[1]["repeated"]
        assert call(app, [body[:5], body[5:]], [(HEADER, sign(body, SECRET))], "/webhooks/orgx")[0] == 200
    assert kept() == ["e"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(HEADER, "")],
        [(HEADER, "sha256=")],
        [(HEADER, "sha256=" + "0" * 64)],
        [(HEADER, "{right}"), (HEADER, "{right}")],
        [(HEADER, "{right} ")],
        [(HEADER, "{right},{right}")],
        [(HEADER, "{right}\r\nX-Other: 1")],
        [(HEADER, "{digest}")],
        [(HEADER, "sha1={digest}")],
        [(HEADER, "{base64}")],
        [(HEADER, "{other}")],
        [("webhook-signature", "{right}")],
    ],
)
def test_without_exactly_one_right_signature_nothing_is_kept(headers: list[tuple[str, str]]) -> None:
    body = body_of(event("e"))
    right = sign(body, SECRET)
    known = {
        "right": right,
        "digest": right.removeprefix("sha256="),
        "base64": sign(body, SECRET, "base64"),
        "other": sign(body, "another"),
    }
    with door() as app:
        assert call(app, body, [(name, value.format(**known)) for name, value in headers])[0] == 401
    assert kept() == []


def test_base64_is_a_setting_and_several_secrets_are_valid_while_one_is_replaced() -> None:
    body = body_of(event("e"))
    both = Signatures(["new", "old"])
    assert [both.key_of(body, [sign(body, secret)]) for secret in ("new", "old", "none")] == [1, 2, None]
    coded = Signatures([SECRET], "base64")
    assert coded.key_of(body, [sign(body, SECRET, "base64")]) == 1
    assert coded.key_of(body, [sign(body, SECRET)]) is None


def test_digests_are_compared_in_constant_time_and_with_every_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    constant_time = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return constant_time(one, other)

    monkeypatch.setattr(signature.hmac, "compare_digest", compare)
    body = body_of(event("e"))
    assert Signatures(["first", "second"]).key_of(body, [sign(body, "first")]) == 1
    assert len(compared) == 2
    assert all(len(one) == len(other) == 32 for one, other in compared)


@pytest.mark.parametrize(
    ("body", "event_id"),
    [
        (b"", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"id":null}', None),
        (b'{"id":""}', None),
        (b'{"id":true}', None),
        (b'{"id":{}}', None),
        (b'{"id":"a\\u0000b"}', "a\N{REPLACEMENT CHARACTER}b"),
        (b'{"id":"a\\nb"}', None),
        (b'{"id":"' + b"x" * 513 + b'"}', None),
        (b'{"id":5}', "5"),
        (b'{"id":"x","n":1e999}', "x"),
        (b'{"id":"x","half":"\\ud83d"}', "x"),
        (b'{"id":"x"', None),
        (b'\xff{"id":"x"}', None),
        (b"[" * 500_000, None),
        (b'{"a":' * 100_000 + b'{"id":"x"}' + b"}" * 100_000, None),
        (b'{"id":' + b"9" * 5_000 + b"}", None),
    ],
    ids=range(18),
)
def test_an_event_is_a_json_object_with_an_id(body: bytes, event_id: str | None) -> None:
    parsed = parse_event(body)
    assert (parsed and parsed[0]) == event_id
    with door() as app:
        assert post(app, body) == (200 if event_id else 400)


def test_a_body_above_the_limit_is_refused_before_it_is_held() -> None:
    with door() as app:
        assert call(app, b"x", [("Content-Length", str(MAX_BODY + 1))])[0] == 413
        assert call(app, b"x", [("Content-Length", "9" * 5_000)])[0] == 413
        assert call(app, [b"x" * MAX_BODY, b"x"] + [b"x"] * 100, [])[0] == 413
        body = b'{"id":"e","x":"' + b"y" * (MAX_BODY - 17) + b'"}'
        assert (len(body), post(app, body)) == (MAX_BODY, 200)
        assert app._in_flight == 0


def test_a_body_that_does_not_come_and_too_many_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with door() as app:
        monkeypatch.setattr(app_module, "BODY_SECONDS", 0.01)
        assert call(app, [], [])[0] == 408
        monkeypatch.setattr(app_module, "MAX_IN_FLIGHT", 10)
        assert post(app, event("e")) == 503
        assert app._in_flight == 0
    assert kept() == []


def test_an_id_that_comes_again_with_another_body_is_kept_as_it_came_first() -> None:
    with door() as app:
        assert [post(app, event("e", n=n)) for n in range(3)] == [200, 200, 200]
    with sqlite3.connect("x.inbox") as connection:
        assert [json.loads(body)["n"] for (body,) in connection.execute("select body from events")] == [0]


KEYS = st.sampled_from(["id", "type", "data", "x"])
SIGNATURES = st.sampled_from(["right", "wrong", "none", "base64", "upper", "junk"])
ANYTHING = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    bodies=st.lists(st.tuples(ANYTHING, SIGNATURES), max_size=8),
    junk=st.text(st.characters(max_codepoint=255), max_size=90),
)
@example(bodies=[(b'{"id":"x"}', "right"), (b'{"id":"x","n":2}', "upper"), (b'{"id":"y"}', "wrong")], junk="sha256=")
def test_whatever_comes_is_answered_and_only_what_is_signed_is_kept(bodies: list[tuple[bytes, str]], junk: str) -> None:
    answered: dict[str, None] = {}
    with fresh_door() as app:
        for body, kind in bodies:
            right = sign(body, SECRET)
            header = {
                "right": right,
                "wrong": sign(body, "other"),
                "base64": sign(body, SECRET, "base64"),
                "upper": right[:7] + right[7:].upper(),
                "junk": junk,
            }.get(kind)
            status, _ = call(app, body, [] if header is None else [(HEADER, header)])
            signed = kind in ("right", "upper")
            assert status in ((200, 400) if signed else (401,))
            if status == 200:
                parsed = parse_event(body)
                assert parsed is not None
                answered[parsed[0]] = None
        assert app._in_flight == 0
    assert kept() == list(answered)


def test_a_disk_that_is_full_answers_503_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = store._connect

    def small(path: Path) -> sqlite3.Connection:
        connection = whole(path)
        connection.execute("pragma max_page_count = 40")
        return connection

    monkeypatch.setattr(store, "_connect", small)
    with door() as app:
        statuses = [post(app, event(f"e{number}", note="x" * 5_000)) for number in range(60)]
        assert set(statuses) == {200, 503}
        monkeypatch.setattr(store, "_connect", whole)
        # What was refused is not there; as soon as there is room, it is taken.
        assert post(app, event("e59")) == 200
    answered = [f"e{number}" for number, status in enumerate(statuses) if status == 200]
    assert kept() == [*answered, "e59"]


@pytest.mark.parametrize("files", [["x.inbox"], ["x.inbox", "x.inbox-wal", "x.inbox-shm"]])
def test_an_event_answered_after_the_file_was_deleted_is_in_a_new_one(files: list[str]) -> None:
    with door() as app:
        assert post(app, event("e0")) == 200
        for name in files:
            Path(name).unlink()
        assert app._inbox.waiting().count == 0
        assert [post(app, event(f"e{number}")) for number in range(1, 4)] == [200] * 3
        assert app._inbox.waiting().count == 3
        Path("x.inbox").rename("moved")
        assert (post(app, event("e4")), app._health().status_code) == (200, 200)
    assert kept() == ["e4"]


def test_an_inbox_in_a_folder_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="the folder nowhere does not exist"):
        Inbox(Path("nowhere/inbox"))


def test_what_is_no_inbox_or_of_a_newer_version_is_refused() -> None:
    Path("text").write_text("no database" * 100)
    with pytest.raises(ConfigError, match="is not an inbox"):
        Inbox(Path("text"))
    with sqlite3.connect("newer") as connection:
        connection.execute("pragma user_version = 99")
    with pytest.raises(ConfigError, match="newer version"):
        Inbox(Path("newer"))
    with pytest.raises(MachineError, match="cannot be used"):
        Inbox(Path.cwd())


def test_a_damaged_file_is_named_and_a_damaged_event_keeps_no_other_waiting() -> None:
    with door() as app:
        assert [post(app, event(f"e{number}", note="x" * 500)) for number in range(300)] == [200] * 300
    with sqlite3.connect("x.inbox") as connection:
        connection.execute("update events set body = substr(body, 1, 20) where number = 1")
        connection.execute("update events set body = cast(replace(body, 'x', 'y') as blob) where number = 2")
        connection.execute("update events set body = null where number = 3")
    # The last connection copies its log into the file.
    connection.close()
    inbox = Inbox(Path("x.inbox"))
    try:
        assert [found.body is None for found in inbox.oldest(4)] == [True, True, True, False]
        assert (inbox.oldest(1)[0].type, list(inbox.oldest(1)[0].rows())) == (None, [])
    finally:
        inbox.close()
    content = bytearray(Path("x.inbox").read_bytes())
    content[4096 : 4096 * 8] = b"\xff" * 4096 * 7
    Path("x.inbox").write_bytes(content)
    inbox = Inbox(Path("x.inbox"))
    try:
        for ask in (inbox.waiting, lambda: inbox.oldest(100)):
            with pytest.raises(MachineError, match=r"x\.inbox is damaged .* move the file away"):
                ask()
    finally:
        inbox.close()


def test_a_damaged_time_is_now() -> None:
    with door() as app:
        assert post(app, event("e0")) == 200
        for damaged in ("", "yesterday", "2026-11-26T10:00:00", 7):
            with sqlite3.connect("x.inbox") as connection:
                connection.execute("update events set received_at = ?", (damaged,))
            connection.close()
            health = json.loads(app._health().body)
            assert (health["status"], health["waiting"]) == ("ok", 1)
            assert health["oldest_waiting_seconds"] < 60
            (found,) = app._inbox.oldest(10)
            assert (utc_now() - found.received_at).total_seconds() < 60


def test_a_batch_of_large_events_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BYTES_AT_ONCE", 10_000)
    with door() as app:
        for number in range(6):
            assert post(app, event(f"e{number}", note="x" * (20_000 if number == 2 else 4_000))) == 200
        batches = []
        while events := app._inbox.oldest(100):
            batches.append([found.id for found in events])
            app._inbox.settle(events)
    assert batches == [["e0", "e1"], ["e2"], ["e3", "e4"], ["e5"]]


def test_commits_wait_for_the_disk() -> None:
    with door():
        connection = store._connect(Path("x.inbox"))
        assert connection.execute("pragma synchronous").fetchone() == (2,)
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
        connection.close()


def test_secrets_come_from_the_environment_or_the_secrets_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_secrets() == []
    with pytest.raises(ConfigError, match="ORGX_WEBHOOK_SECRET"):
        Signatures([])
    monkeypatch.setenv("ORGX_WEBHOOK_SECRET", "new, old,")
    assert load_secrets() == ["new", "old"]


def test_a_secret_may_be_a_number_or_bytes_of_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".dlt").mkdir()
    Path(".dlt/secrets.toml").write_text("[sources.orgx]\nwebhook_secret = 12345\n")
    reread_settings_files()
    assert load_secrets() == ["12345"]
    monkeypatch.setenv("ORGX_WEBHOOK_SECRET", "se\udce9cret")
    digest = hmac.new(b"se\xe9cret", b"{}", hashlib.sha256).hexdigest()
    assert Signatures(load_secrets()).key_of(b"{}", [f"sha256={digest}"]) == 1


def test_settings_that_cannot_be_read_are_named_by_the_application_too() -> None:
    Path(".dlt").mkdir()
    Path(".dlt/secrets.toml").write_text("[sources.orgx\n")
    code = "from orgx_source.inbox import create_app; create_app()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ConfigError: dlt's settings cannot be read." in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("host", ["", " "])
def test_an_empty_host_is_refused_because_it_would_listen_everywhere(host: str) -> None:
    with door() as app, pytest.raises(ConfigError, match="--host is empty"):
        serve(app, host, 0, lambda url, stop: stop())


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1, 1e9])
def test_a_time_that_no_thread_can_wait_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="batch_seconds must be from 0 to 86400"):
        create_app(secrets=["s"], batch_seconds=seconds)
