"""The door to OrgX: what is sent, what is sent again, and where the key never goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.http import HttpTransport
from orgx_source.api.limits import RateBudget, RetryPolicy, retry_after
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import ROUTES
from orgx_source.config import OrgxConfig
from orgx_source.errors import (
    BudgetError,
    ConnectionFailedError,
    RateLimitError,
    RedirectError,
    RouteClosedError,
    ServerError,
)  # fmt: skip
from tests.running import FakeTime

KEY = "oxk_0123456789abcdef"
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
        return answer(request) if callable(answer) else answer

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


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 520, 524])
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
        (httpx.ReadTimeout("slow"), "did not answer in time"),
        (httpx.RemoteProtocolError("cut"), "broke the connection off"),
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
        ({"x-ratelimit-reset": "1010"}, 10), ({"x-ratelimit-reset": "900"}, 0), ({"retry-after": "nan"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:17:00 GMT"}, 20), ({"x-ratelimit-reset": "unlimited"}, None),
    ],
)  # fmt: skip
def test_what_retry_after_means(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, 1000.0) == seconds


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
    door, sent, _ = client(httpx.Response(308, headers={"location": "/api/entities2?type=task"}), ok())
    door.fetch_page(TASKS, PageQuery())
    assert sent[1].url.path == "/api/entities2"
    for elsewhere in (
        "https://www.orgx.test/api/entities",
        "http://orgx.test/x",
        "https://orgx.test:8443/x",
        "//evil.test/x",
    ):
        door, sent, _ = client(httpx.Response(307, headers={"location": elsewhere}), ok())
        with pytest.raises(RedirectError, match="another origin"):
            door.fetch_page(TASKS, PageQuery())
        assert len(sent) == 1


def test_redirects_in_circles_end() -> None:
    door, sent, _ = client(httpx.Response(302, headers={"location": "/api/entities"}))
    with pytest.raises(RedirectError, match="in circles"):
        door.fetch_page(TASKS, PageQuery())
    assert len(sent) == 5


def test_the_key_is_masked_wherever_orgx_sends_it_back() -> None:
    door, _, _ = client(httpx.Response(403, json={"error": "Forbidden", "message": f"key {KEY} may not"}))
    with pytest.raises(RouteClosedError) as refused:
        door.fetch_page(TASKS, PageQuery())
    assert KEY not in str(refused.value)
    door, _, _ = client(httpx.Response(500, text=f"<html>{KEY}</html>"))
    with pytest.raises(ServerError) as failed:
        door.fetch_page(TASKS, PageQuery())
    assert KEY not in str(failed.value)
    door, _, _ = client(httpx.Response(200, content=json.dumps({"data": [{"id": KEY}]}).encode()))
    assert list(door.fetch_page(TASKS, PageQuery()).rows) == [{"id": "oxk_***"}]
