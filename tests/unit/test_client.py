"""The door to OrgX: what is sent, what is sent again, and where the key never goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.http import HttpTransport
from orgx_source.api.key_mask import KeyMask
from orgx_source.api.limits import LONGEST, RateBudget, RetryPolicy, retry_after
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import ROUTES
from orgx_source.config import OrgxConfig
from orgx_source.errors import (
    ApiError,
    BudgetError,
    ConnectionFailedError,
    RateLimitError,
    RedirectError,
    ServerError,
)  # fmt: skip
from tests.running import FakeTime

KEY = "oxk_0123456789abcdef"
BEGAN = 1_800_000_000
BEGAN_PLUS_20 = "Fri, 15 Jan 2027 08:00:20 GMT"
TASKS = ROUTES["tasks"][0]
Answer = Callable[[httpx.Request], httpx.Response]


def ok(rows: list[Any] | None = None, **headers: str) -> httpx.Response:
    return httpx.Response(200, json={"data": rows or [], "pagination": {"total": 0}}, headers=headers)


def client(
    *answers: httpx.Response | Answer | Exception, **settings: Any
) -> tuple[OrgxClient, list[httpx.Request], FakeTime]:
    """Return a client that receives these answers in turn, the last one for ever; what it sent; and its clock."""
    sent: list[httpx.Request] = []
    waiting = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(request)
        # A stream can be read once.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    fake = FakeTime()
    config = OrgxConfig(api_key=KEY, base_url="https://orgx.test", **settings)
    budget = RateBudget(max_requests=config.max_requests, max_wait=config.max_wait, clock=fake.clock, sleep=fake.sleep)
    transport = HttpTransport(config, httpx.MockTransport(handle))
    return OrgxClient(config, budget=budget, policy=RetryPolicy(attempts=4), transport=transport), sent, fake


def test_each_request_carries_the_key_the_version_and_a_name() -> None:
    door, sent, _ = client(ok())
    door.fetch_page(TASKS, PageQuery(limit=100, offset=0))
    assert sent[0].headers["authorization"] == f"Bearer {KEY}"
    assert sent[0].headers["orgx-version"] == "2026-04-29"
    assert sent[0].headers["user-agent"].startswith("orgx-source/")
    assert "gzip" in sent[0].headers["accept-encoding"]
    assert dict(sent[0].url.params) == {"type": "task", "limit": "100", "offset": "0"}


@pytest.mark.parametrize("status", [408, 423, 425, 429, 500, 502, 503, 504, 507, 520, 524, 529])
def test_what_may_pass_is_sent_again(status: int) -> None:
    door, sent, _ = client(httpx.Response(status), httpx.Response(status), ok([{"id": "a"}]))
    assert list(door.fetch_page(TASKS, PageQuery()).rows) == [{"id": "a"}]
    assert (len(sent), door.budget.spent, door.budget.retries) == (3, 3, 2)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 410, 422, 501])
def test_what_will_not_pass_is_sent_once(status: int) -> None:
    door, sent, _ = client(httpx.Response(status))
    with pytest.raises(Exception, match=f"{status} from /api/entities"):
        door.fetch_page(TASKS, PageQuery())
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (httpx.ConnectError("[Errno -2] Name or service not known"), "could not be reached"),
        (httpx.ReadTimeout("slow"), "timed out"),
        (httpx.RemoteProtocolError("cut"), "closed the connection"),
    ],
)
def test_a_connection_that_fails_is_tried_again_and_names_the_host(error: Exception, says: str) -> None:
    door, sent, _ = client(error)
    with pytest.raises(ConnectionFailedError, match=f"orgx.test {says}"):
        door.fetch_page(TASKS, PageQuery())
    assert len(sent) == 4
    door, sent, _ = client(error, ok())
    door.fetch_page(TASKS, PageQuery())
    assert len(sent) == 2


def test_retry_after_is_obeyed_in_seconds_and_as_a_date() -> None:
    door, _, fake = client(httpx.Response(429, headers={"retry-after": "30"}), ok())
    began = fake.now
    door.fetch_page(TASKS, PageQuery())
    assert 30 <= fake.now - began < 31
    dated = {"retry-after": "Mon, 13 Apr 2026 06:00:45 GMT", "date": "Mon, 13 Apr 2026 06:00:00 GMT"}
    door, _, fake = client(httpx.Response(429, headers=dated), ok())
    began = fake.now
    door.fetch_page(TASKS, PageQuery())
    assert 45 <= fake.now - began < 46


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7), ({"retry-after": "-3"}, 0), ({"retry-after": "soon"}, None), ({}, None),
        ({"retry-after": "nan"}, None), ({"retry-after": "1e3"}, None), ({"retry-after": "9" * 40}, LONGEST),
        ({"retry-after": BEGAN_PLUS_20}, 20), ({"retry-after": str(BEGAN + 20)}, 20),
        ({"x-ratelimit-reset": str(BEGAN + 10)}, 10), ({"x-ratelimit-reset": str(BEGAN - 100)}, 0),
        ({"x-ratelimit-reset": f"{BEGAN + 10}000"}, 10), ({"x-ratelimit-reset": "90"}, 90),
        ({"x-ratelimit-reset": BEGAN_PLUS_20}, 20), ({"x-ratelimit-reset": "2027-01-15T08:00:20Z"}, 20),
        ({"x-ratelimit-reset": "unlimited"}, None), ({"ratelimit-reset": "30"}, 30),
        ({"ratelimit-limit": "100, 100;w=60", "ratelimit-reset": "30"}, 30),
        # The clock there is an hour ahead, or behind.
        ({"x-ratelimit-reset": str(BEGAN + 3605), "date": "Fri, 15 Jan 2027 09:00:00 GMT"}, 5),
        ({"x-ratelimit-reset": str(BEGAN - 3595), "date": "Fri, 15 Jan 2027 07:00:00 GMT"}, 5),
        ({"x-ratelimit-reset": "5", "date": "Fri, 15 Jan 2027 09:00:00 GMT"}, 5),
        ({"x-ratelimit-reset": str(BEGAN + 5), "date": "yesterday"}, 5),
        ({"retry-after": "Fri, 15 Jan 2027 09:00:05 GMT", "date": "Fri, 15 Jan 2027 09:00:00 GMT"}, 5),
        ({"retry-after": "3", "x-ratelimit-reset": str(BEGAN + 3600)}, 3),
        ({"retry-after": "soon", "x-ratelimit-reset": str(BEGAN + 60)}, 60),
    ],
)  # fmt: skip
def test_what_retry_after_means(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, float(BEGAN)) == seconds


@pytest.mark.parametrize("asked", ["0", "-5", "0.01", "Thu, 01 Jan 1970 00:17:00 GMT", None])
@pytest.mark.parametrize("status", [429, 503])
def test_no_wait_is_shorter_than_our_own_backoff(asked: str | None, status: int) -> None:
    refused = httpx.Response(status, headers={"retry-after": asked} if asked is not None else {})
    door, sent, fake = client(refused)
    began = fake.now
    with pytest.raises((RateLimitError, ServerError)):
        door.fetch_page(TASKS, PageQuery())
    # Half of 0.5 + 1 + 2 s at least.
    assert len(sent) == 4
    assert fake.now - began >= 1.75


def test_a_clock_that_is_behind_delays_no_request_beyond_what_orgx_asks_for() -> None:
    an_hour_ahead = {
        "date": format_datetime(datetime.fromtimestamp(FakeTime().now + 3600, UTC), usegmt=True),
        "x-ratelimit-limit": "100", "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(int(FakeTime().now) + 3600 + 600),
    }  # fmt: skip
    door, _, fake = client(httpx.Response(429, headers={**an_hour_ahead, "retry-after": "3"}), ok())
    began = fake.now
    door.fetch_page(TASKS, PageQuery())
    assert 3 <= fake.now - began < 4
    door, _, fake = client(ok(**an_hour_ahead), ok())
    began = fake.now
    door.fetch_page(TASKS, PageQuery())
    door.fetch_page(TASKS, PageQuery())
    assert fake.now - began == 600


@pytest.mark.parametrize("asked", ["9" * 30, "3601", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_beyond_the_bound_ends_the_run_and_says_so(asked: str) -> None:
    door, sent, fake = client(httpx.Response(429, headers={"retry-after": asked}), max_wait=3600)
    began = fake.now
    with pytest.raises(BudgetError, match=r"OrgX rate limit reached: waiting \d+ (s|min) more would exceed --max-wait"):
        door.fetch_page(TASKS, PageQuery())
    assert (len(sent), fake.now) == (1, began)


def test_answers_that_overtake_each_other_give_back_no_request() -> None:
    budget = RateBudget(clock=FakeTime().clock)
    for remaining, reset in ((5, "60"), (7, "59"), (6, "60")):
        budget.observe({"x-ratelimit-remaining": str(remaining), "x-ratelimit-reset": reset})
        assert budget.remaining == 5
    budget.observe({"x-ratelimit-remaining": "9", "x-ratelimit-reset": "120"})
    assert budget.remaining == 9


def test_a_used_up_budget_is_waited_for_before_the_next_request() -> None:
    reset = str(int(FakeTime().now) + 600)
    used_up = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    door, sent, fake = client(ok(**used_up), ok())
    door.fetch_page(TASKS, PageQuery())
    began = fake.now
    door.fetch_page(TASKS, PageQuery())
    assert fake.now - began == 600
    assert (len(sent), door.budget.waited) == (2, 600)


def test_unlimited_is_no_number() -> None:
    door, _, fake = client(ok(**{"x-ratelimit-limit": "unlimited", "x-ratelimit-remaining": "unlimited"}))
    began = fake.now
    for _ in range(3):
        door.fetch_page(TASKS, PageQuery())
    assert fake.now == began
    assert door.budget.remaining is None


def test_waiting_and_spending_have_bounds() -> None:
    door, sent, fake = client(httpx.Response(429, headers={"retry-after": "3600"}), max_wait=60)
    began = fake.now
    with pytest.raises(BudgetError, match="--max-wait"):
        door.fetch_page(TASKS, PageQuery())
    assert (len(sent), fake.now) == (1, began)
    door, sent, _ = client(ok(), max_requests=2)
    with pytest.raises(BudgetError, match="--max-requests"):
        for _ in range(3):
            door.fetch_page(TASKS, PageQuery())
    assert len(sent) == 2


def test_a_limit_that_does_not_end_is_an_error_after_the_last_attempt() -> None:
    door, sent, _ = client(httpx.Response(429, headers={"retry-after": "1"}))
    with pytest.raises(RateLimitError):
        door.fetch_page(TASKS, PageQuery())
    assert len(sent) == 4


def test_a_redirect_within_the_origin_is_followed_and_to_another_it_is_not() -> None:
    for within in ("/api/entities2?type=task", "https://orgx.test:443/api/entities2", "//ORGX.test/api/entities2"):
        door, sent, _ = client(httpx.Response(308, headers={"location": within}), ok())
        door.fetch_page(TASKS, PageQuery())
        assert sent[1].url.path == "/api/entities2"
    for elsewhere in (
        "https://www.orgx.test/api/entities",
        "http://orgx.test/x",
        "http://orgx.test:443/x",
        "https://orgx.test:8443/x",
        "//evil.test/x",
        "https://user:word@orgx.test/x",
        "https://orgx.test@evil.test/x",
        "https://orgx.test\\@evil.test/x",
        "https://[/x",
        "javascript:alert(1)",
        "https://orgx.test:port/x",
        f"/api/entities?key={KEY}",
        f"https://{KEY}.evil.test/x",
        f"/api?key=%6f%78%6b%5f{KEY[4:]}",
    ):
        door, sent, _ = client(httpx.Response(307, headers={"location": elsewhere}), ok())
        with pytest.raises(RedirectError) as refused:
            door.bootstrap() if "@" in elsewhere else door.fetch_page(TASKS, PageQuery())
        assert len(sent) == 1
        assert KEY not in str(refused.value) and "word" not in str(refused.value)


def test_redirects_in_circles_end() -> None:
    door, sent, _ = client(httpx.Response(302, headers={"location": "/api/entities"}))
    with pytest.raises(RedirectError, match="in a loop"):
        door.fetch_page(TASKS, PageQuery())
    assert len(sent) == 5


SPELT = [
    KEY,
    KEY.replace("_", "%5F"),
    "".join(f"%{ord(c):02x}" for c in KEY),
    KEY.replace("o", "\\u006f"),
    "".join(f"\\u{ord(c):04X}" for c in KEY),
    KEY.replace("o", "\\\\u006f"),
]
ANSWERS: list[tuple[int, Callable[[str], bytes], dict[str, str]]] = [
    (403, lambda key: f'{{"error": "Forbidden", "message": "key {key} may not"}}'.encode(), {}),
    (400, lambda key: f'{{"error": {{"message": "no", "code": "{key}", "request_id": "{key}"}}}}'.encode(), {}),
    (500, lambda key: f"<html>{key}</html>".encode(), {}),
    (500, lambda key: ("<html>" + "." * 180 + key).encode(), {}),
    (200, lambda key: f"<html>{key}</html>".encode(), {}),
    (200, lambda key: f'{{"{key}": 1}}'.encode(), {}),
    (200, lambda key: f'{{"ok": false, "message": "{key}"}}'.encode(), {}),
    (200, lambda key: f'{{"ok": false, "message": "{key}"}}'.encode("utf-16"), {}),
    (200, lambda key: b"no JSON", {"content-type": KEY}),
    (500, lambda key: b"", {"content-type": f"text/html; {KEY.upper()}"}),
]


@pytest.mark.parametrize("key", SPELT)
@pytest.mark.parametrize("answer", range(len(ANSWERS)))
def test_no_error_holds_the_key_however_it_is_spelt(answer: int, key: str) -> None:
    status, body, headers = ANSWERS[answer]
    door, _, _ = client(httpx.Response(status, content=body(key), headers=headers))
    with pytest.raises(ApiError) as failed:
        door.fetch_page(TASKS, PageQuery())
    said = unquote(repr((str(failed.value), failed.value.code, failed.value.request_id)).replace("\\", ""))
    assert KEY[4:12] not in said.replace("u00", "%").lower()
    assert "u0030" not in said


@pytest.mark.parametrize("key", SPELT)
def test_no_row_holds_the_key_however_it_is_spelt(key: str) -> None:
    row = f'{{"id": "{key}", "note": ["50 %", {{"{key}": "see /x?key={key}&y=1"}}]}}'
    for encoding in ("utf-8", "utf-16", "utf-8-sig"):
        door, _, _ = client(httpx.Response(200, content=f'{{"data": [{row}]}}'.encode(encoding)))
        masked = {"id": "oxk_***", "note": ["50 %", {"oxk_***": "see /x?key=oxk_***&y=1"}]}
        assert list(door.fetch_page(TASKS, PageQuery()).rows) == [masked]
    door, _, _ = client(httpx.Response(200, content=f'{{"data": {{"workspace": {row}}}}}'.encode()))
    assert door.bootstrap()["id"] == "oxk_***"


def test_what_is_escaped_and_no_key_stays_as_it_is() -> None:
    text = r"50%5Foo \u005f \\u006fxk \u00e9 %20"
    door, _, _ = client(httpx.Response(200, content=f'{{"data": [{{"id": "{text}"}}]}}'.encode()))
    assert list(door.fetch_page(TASKS, PageQuery()).rows) == [{"id": json.loads(f'"{text}"')}]


@pytest.mark.parametrize("key", SPELT)
def test_a_cursor_that_holds_the_key_is_not_sent_and_promises_more(key: str) -> None:
    body = f'{{"data": [{{"id": "a"}}], "nextCursor": "c-{key}", "hasMore": false}}'
    door, _, _ = client(httpx.Response(200, content=body.encode()))
    page = door.fetch_page(TASKS, PageQuery())
    assert (page.next_cursor, page.has_more) == (None, True)


def test_looking_for_the_key_costs_a_page_next_to_nothing() -> None:
    mask, page = KeyMask(KEY), b'{"id": "%20 \\u00e9 is no key", "text": "half of it, 50 %"}' * 1000
    slow = b"\\" * 200_000 + b"%6f\\u006f"
    assert mask.in_body(page) == page
    began = time.perf_counter()
    mask.in_body(slow)
    # Quadratic, it takes minutes.
    assert time.perf_counter() - began < 2


def test_a_question_too_long_for_an_address_is_an_error_of_ours() -> None:
    door, sent, _ = client(ok())
    with pytest.raises(ApiError, match="has an invalid address"):
        door.fetch_page(TASKS, PageQuery(cursor="c" * 70_000))
    assert sent == []
