"""Whatever a body holds: rows, or an error of ours in one line that can be shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orgx_source.api.envelope import parse_error, parse_page, parse_workspace
from orgx_source.errors import OrgxError
from orgx_source.texts import visible

EXAMPLES = int(os.environ.get("ORGX_EXAMPLES", "400")) * 5 // 2
NAMES = st.sampled_from(
    [
        "data", "decisions", "pagination", "meta", "summary", "total", "limit", "offset", "has_more", "hasMore",
        "nextCursor", "next_cursor", "links", "_links", "next", "href", "truncated", "ok", "error", "errors", "message",
        "code", "request_id", "workspace", "id",
    ]
)  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just([]), st.just({}),
    st.sampled_from(["https://[", "//x?cursor=%ff", "?cursor", 10**30, -1, 0, "\x1b[31m", "\ud800", "\u202e"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES | st.text(max_size=3), inner)),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=6)


def spelt(document: Any) -> bytes:
    return json.dumps(document).encode()


BODIES = st.one_of(DOCUMENTS.map(spelt), DOCUMENTS.map(spelt), VALUES.map(spelt), st.binary(max_size=60))


@settings(max_examples=EXAMPLES, deadline=None, derandomize="CI" in os.environ, suppress_health_check=list(HealthCheck))
@given(BODIES, st.text(max_size=10), st.integers(100, 999))
@example(b"[" * 100_000, "", 200)
@example(b'{"data": ' + b"9" * 5000 + b"}", "", 200)
@example(b'{"data": [], "links": {"next": "https://[/?"}}', "", 200)
def test_any_body_is_a_page_or_an_error_of_ours(body: bytes, content_type: str, status: int) -> None:
    parsers: list[Callable[[], Any]] = [
        lambda: parse_page(body, keys=("data", "decisions"), path="/x", content_type=content_type).is_all(100),
        lambda: parse_workspace(body, path="/x", content_type=content_type)["id"],
    ]
    for parse in parsers:
        try:
            parse()
        except OrgxError as error:
            assert visible(str(error)) == str(error) and len(str(error)) < 3000
    failure = parse_error(status, body, path="/x", content_type=content_type)
    assert visible(str(failure)) == str(failure)
