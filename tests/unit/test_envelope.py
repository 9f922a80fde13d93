"""Every envelope that OrgX is known to use is read; anything else is an error that describes the response."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orgx_source.api.envelope import Page, envelope_error, parse_error, parse_json, parse_page, parse_workspace
from orgx_source.errors import ApiError, AuthError, EnvelopeError, RateLimitError, RouteClosedError, ServerError

ROWS = [{"id": "a"}, {"id": "b"}]


def page(document: Any, *keys: str) -> Any:
    return parse_page(json.dumps(document).encode(), keys=keys or ("data", "decisions"), path="/x")


@pytest.mark.parametrize(
    "document",
    [
        {"decisions": ROWS, "total": 2, "pagination": {"limit": 20, "offset": 0, "has_more": False}},
        {"type": "decision", "data": ROWS, "pagination": {"total": 2, "limit": 20, "offset": 0, "has_more": False}},
        {"ok": True, "data": {"decisions": ROWS, "total": 2}},
        {"ok": True, "data": {"data": ROWS}},
        {"data": ROWS, "meta": {"hasMore": False, "nextCursor": None, "limit": 20}},
        {"ok": True, "decisions": ROWS},
    ],
)
def test_the_rows_are_found_in_every_known_envelope(document: Any) -> None:
    assert page(document).rows == ROWS


def test_what_an_envelope_says_of_the_list_is_read_wherever_it_stands() -> None:
    found = page({"data": ROWS, "pagination": {"total": 7, "limit": 2, "offset": 4, "has_more": True}})
    assert (found.total, found.limit, found.offset, found.has_more) == (7, 2, 4, True)
    assert page({"decisions": [], "total": 0}).total == 0
    assert page({"data": ROWS, "meta": {"nextCursor": "c2", "hasMore": True}}).next_cursor == "c2"
    assert page({"agents": ROWS, "summary": {"total": 2}}, "agents").total == 2


def test_what_is_missing_is_none_and_a_truth_value_is_no_number() -> None:
    found = page({"data": ROWS, "pagination": {"total": True, "limit": "20", "has_more": 1}})
    assert (found.total, found.limit, found.offset, found.has_more, found.next_cursor) == (None,) * 5


@pytest.mark.parametrize(
    ("told", "cursor", "has_more"),
    [
        ({"meta": {"nextCursor": 5, "hasMore": True}}, "5", True),
        ({"meta": {"next_cursor": 0}}, "0", None),
        ({"meta": {"nextCursor": 2.5}}, "2.5", None),
        ({"meta": {"nextCursor": 2**70}}, str(2**70), None),
        ({"pagination": {"nextCursor": "c"}}, "c", None),
        ({"nextCursor": "c", "hasMore": True}, "c", True),
        ({"next_cursor": "c", "has_more": False}, "c", False),
        ({"links": {"next": "/api/v1/work?cursor=c%3D&limit=5"}}, "c=", None),
        ({"meta": {"_links": {"next": {"href": "https://x/y?cursor=7"}}}}, "7", None),
        ({"links": {"next": "c"}}, "c", None),
        # A next page that is named, but not by a cursor that can be sent back.
        ({"links": {"next": "/api/v1/work?page=2"}}, None, True),
        ({"meta": {"nextCursor": True}}, None, True),
        ({"meta": {"nextCursor": {"id": 5}}}, None, True),
        ({"meta": {"truncated": True, "hasMore": False}}, None, True),
        # The end.
        ({"meta": {"nextCursor": "", "hasMore": True}}, None, True),
        ({"meta": {"nextCursor": "", "next_cursor": None}}, None, None),
        ({"meta": {"nextCursor": False}}, None, None),
        ({"meta": {"sourceCursor": "s", "truncated": False}}, None, None),
        ({"links": {"next": None, "self": "/x"}, "_links": []}, None, None),
    ],
)
def test_any_scalar_is_a_cursor_wherever_it_stands(told: Any, cursor: str | None, has_more: bool | None) -> None:
    found = page({"data": ROWS, **told})
    assert (found.next_cursor, found.has_more) == (cursor, has_more)


def test_an_empty_place_of_the_cursor_is_told_from_none() -> None:
    assert page({"data": ROWS, "meta": {"nextCursor": None}}).names_no_cursor
    assert not page({"data": ROWS, "meta": {"nextCursor": "c"}}).names_no_cursor
    assert not page({"data": ROWS, "meta": {}}).names_no_cursor


@pytest.mark.parametrize(
    ("told", "asked", "is_all"),
    [
        ({}, 100, None),
        ({}, 2, None),
        ({"has_more": False}, 2, True),
        ({"has_more": False, "total": 3}, 2, False),
        ({"has_more": True, "total": 2}, 100, False),
        ({"next_cursor": "c"}, 100, False),
        ({"total": 3}, 100, False),
        ({"total": 2}, 100, True),
        ({"total": 2}, None, True),
        ({"total": 1}, 100, None),
        # A total of a full answer may count that answer.
        ({"total": 2}, 2, None),
        ({"total": 2, "limit": 2}, 100, None),
        ({"limit": 3}, 3, True),
        ({"limit": 2}, 100, None),
    ],
)
def test_only_what_an_answer_says_makes_it_the_whole_list(told: Any, asked: int | None, is_all: bool | None) -> None:
    assert Page(ROWS, **told).is_all(asked) is is_all


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>gateway</html>", "not JSON"),
        (b"", "not JSON"),
        (b'{"data": [{"id": "a"', "not JSON"),
        (b"[]", "expected a JSON object, got list"),
        (b'{"items": []}', "no list under any of data, decisions (the response has: items)"),
        (b'{"data": null, "total": 5}', "no list under any"),
        (b'{"data": null, "pagination": {"total": 5}}', "no list under any"),
        (b'{"data": null, "pagination": {"has_more": true}}', "no list under any"),
        (b'{"data": null, "nextCursor": "c2"}', "no list under any"),
        (b'{"data": null, "message": "no such type"}', "no list under any"),
        (b'{"data": null, "total": "none"}', "no list under any"),
        (b'{"data": {}}', "no list under any"),
        (b'{"data": {"count": 0}, "total": 0}', "no list under any"),
        (b'{"data": false, "total": 0}', "no list under any"),
        (b'{"data": null, "total": 0, "error": "boom"}', "an error instead of rows (boom)"),
        (b'{"data": [], "errors": [{"message": "boom"}]}', "an error instead of rows"),
        (b'{"data": ["a"]}', "something other than objects"),
        (b'{"ok": false, "error": {"message": "busy", "request_id": "req_7"}}', "ok: false (busy)"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_anything_else_is_an_error_and_never_an_empty_table(body: bytes, says: str) -> None:
    with pytest.raises(EnvelopeError) as caught:
        parse_page(body, keys=("data", "decisions"), path="/api/entities", content_type="text/html", status=200)
    message = str(caught.value)
    assert says in message
    assert "200 from /api/entities" in message
    assert "content type text/html" in message
    assert len(message) < 500
    assert caught.value.retryable


def test_the_request_id_is_quoted() -> None:
    with pytest.raises(EnvelopeError, match="OrgX request req_7"):
        page({"ok": False, "error": {"message": "busy", "request_id": "req_7"}})


def test_the_workspace_is_found_under_data_or_on_top() -> None:
    inner = {"workspace": {"id": "w", "name": None}, "sourceClient": "custom"}
    assert parse_workspace(json.dumps({"ok": True, "data": inner}).encode(), path="/b")["id"] == "w"
    assert parse_workspace(json.dumps(inner).encode(), path="/b")["sourceClient"] == "custom"
    with pytest.raises(EnvelopeError, match="no workspace with an id"):
        parse_workspace(b'{"ok": true, "data": {"workspace": {}}}', path="/b")


@pytest.mark.parametrize(
    ("status", "bootstrap", "kind"),
    [
        (401, True, AuthError), (401, False, RouteClosedError), (403, False, RouteClosedError),
        (404, False, RouteClosedError), (429, False, RateLimitError), (500, False, ServerError),
        (502, False, ServerError), (503, False, ServerError), (504, False, ServerError), (520, False, ServerError),
        (524, False, ServerError), (400, False, ApiError), (402, False, ApiError), (422, False, ApiError),
        (501, False, ApiError),
    ],
)  # fmt: skip
def test_each_status_becomes_the_class_that_says_what_to_do(status: int, bootstrap: bool, kind: type[ApiError]) -> None:
    simple = parse_error(status, b'{"error": "Nope", "message": "Because."}', path="/x", bootstrap=bootstrap)
    structured = parse_error(
        status,
        b'{"error": {"code": "c", "message": "Because.", "status": 1, "request_id": "req_9"}}',
        path="/x",
        bootstrap=bootstrap,
    )
    page = parse_error(status, b"<html>Because.</html>", path="/x", content_type="text/html", bootstrap=bootstrap)
    assert type(simple) is type(structured) is type(page) is kind
    assert "Because." in str(simple)
    assert (structured.code, structured.request_id, structured.status) == ("c", "req_9", status)
    assert "req_9" in str(structured)


def test_numbers_keep_their_digits_and_text_becomes_storable() -> None:
    assert parse_json(b'{"n": 123456789012345678901234567890}') == {"n": 123456789012345678901234567890}
    assert parse_json(b'{"n": 9223372036854775807}') == {"n": 2**63 - 1}
    assert parse_json(rb'{"t": "a\u0000b", "\ud83d": "\ud83d\ude80"}') == {"t": "a\ufffdb", "\ufffd": "\U0001f680"}
    apart = {"a\ufffd": 0, "a\ufffd\ufffd": 1, "a\ufffd\ufffd\ufffd": 2}
    assert parse_json(b'{"a\\u0000": 1, "a\\ud800": 2, "a\xef\xbf\xbd": 0}') == apart
    assert parse_json(b'{"a\xef\xbf\xbd": 0, "a\\ud800": 2, "a\\u0000": 1}') == apart
    assert parse_json(b"[NaN, -Infinity, 1e999, 1.5]") == ["NaN", "-Infinity", "Infinity", 1.5]


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": null, "total": 0}',
        b'{"data": null}',
        b'{"ok": true, "data": null, "error": null}',
        b'{"data": null, "pagination": {"total": 0, "has_more": false}}',
        b'{"data": {"decisions": null}}',
        b'{"data": {"decisions": null, "total": 0}}',
        b'{"data": {"decisions": {}, "summary": {"total": 0}}}',
        b'{"decisions": null, "total": 0, "message": "nothing there"}',
        b'{"data": {}, "total": 0}',
    ],
)
def test_null_in_place_of_a_list_without_rows_is_an_empty_list(body: bytes) -> None:
    assert list(parse_page(body, keys=("data", "decisions"), path="/x").rows) == []


def test_an_address_that_is_none_is_no_cursor_and_promises_more() -> None:
    page = parse_page(b'{"data": [], "links": {"next": "https://[/x?cursor=1"}}', keys=("data",), path="/x")
    assert (page.next_cursor, page.has_more) == (None, True)


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        (ServerError, [408, 423, 425, 500, 502, 503, 504, 507, 509, 520, 521, 529, 530, 599, 700]),
        (RateLimitError, [429]),
        (RouteClosedError, [401, 403, 404]),
        (ApiError, [300, 304, 400, 402, 405, 406, 409, 410, 413, 421, 422, 451, 499, 501, 505, 506, 508, 510, 511]),
    ],
)
def test_what_a_status_means(kind: type[ApiError], statuses: list[int]) -> None:
    for status in statuses:
        failure = parse_error(status, b"", path="/x")
        assert type(failure) is kind, status
        assert failure.retryable is (kind in (ServerError, RateLimitError))


def test_what_orgx_says_cannot_write_to_a_terminal() -> None:
    words = "red \x1b[31m, title \x1b]0;x\x07, C1 \x9b2J, DEL \x7f, turned \u202eoxk, line\u2028two\nthree"
    body = json.dumps({"error": {"message": words, "code": "c", "request_id": "r\x1b1"}}).encode()
    failure = str(parse_error(500, body, path="/x", content_type="text/html\x9b"))
    assert "red \\x1b[31m, title \\x1b]0;x\\x07, C1 \\x9b2J, DEL \\x7f, turned \\u202eoxk, " in failure
    assert "line\\u2028two three" in failure
    assert failure.isprintable()
    named = str(envelope_error("it holds \x1b", b"\x1b[31m", "/x", "text/\x9bhtml", 200))
    assert named.isprintable() and "text/\\x9bhtml" in named
