"""Responses of OrgX and of proxies in front of it: JSON, errors, proxy pages."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import Response

from orgx_source.sandbox.faults import http_date, plain_json


class RefusalError(Exception):
    """Ends a request with an error in OrgX's structured format."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def json_answer(document: Any, status: int = 200, *, plain: bool = False) -> Response:
    """Return a JSON response; ``plain`` for values that only a lenient encoder writes."""
    body = plain_json(document) if plain else orjson.dumps(document)
    return Response(body, status, media_type="application/json")


def refusal(status: int, code: str, message: str) -> Response:
    """Return an error in OrgX's structured format."""
    error = {"code": code, "message": message, "status": status, "request_id": f"req_{time.monotonic_ns():x}"}
    return json_answer({"error": error}, status)


def proxy_page(status: int) -> Response:
    """Return the HTML page that a proxy sends instead of OrgX's response."""
    return Response(
        f"<html><body><h1>{status}</h1>The gateway failed temporarily.</body></html>", status, media_type="text/html"
    )


def too_many(kind: str, seconds: float) -> Response:
    """Return a 429 that states the wait in one of three ways."""
    response = json_answer({"error": "rate_limit_exceeded", "tier": "free", "retry_after_seconds": seconds}, 429)
    now = datetime.now(UTC)
    if kind == "rate_limited":
        response.headers["retry-after"] = f"{seconds:g}"
    elif kind == "rate_limited_date":
        response.headers["retry-after"] = http_date(now, seconds)
        response.headers["date"] = http_date(now, 0)
    else:
        response.headers["x-ratelimit-remaining"] = "0"
        response.headers["x-ratelimit-reset"] = str(int(now.timestamp() + seconds + 1))
        response.headers["date"] = http_date(now, 0)
    return response
