"""Faults that can be injected: each changes responses the way servers and proxies do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import format_datetime
from typing import Any

from orgx_source.sandbox.world import Row, World

FAULT_KINDS: dict[str, str] = {
    "clamp": "pages have at most this many rows (clamp=40)",
    "no_total": "no total in the response",
    "no_has_more": "no has_more in the response",
    "no_echo": "limit and offset are not echoed",
    "ignore_order": "order_by is ignored",
    "ignore_offset": "offset is ignored",
    "ignore_workspace": "the workspace filter is ignored",
    "ignore_since": "since and updated_since are ignored",
    "ignore_fields": "fields is ignored",
    "ignore_ids": "ids is ignored",
    "closed": "the route is closed to this key (closed=401, 403 or 404)",
    "rate_limited": "429 with Retry-After in seconds (rate_limited=2)",
    "rate_limited_date": "429 with Retry-After as a date (rate_limited_date=2)",
    "rate_limited_reset": "429 with only X-RateLimit-Reset (rate_limited_reset=2)",
    "status": "an error status in OrgX's shape (status=503)",
    "status_html": "an error status with a proxy's page (status_html=502)",
    "html": "an HTML page with status 200",
    "truncated": "JSON that is cut in the middle",
    "reset": "the connection is closed without a response",
    "cut_body": "the connection is closed in the middle of the body",
    "slow": "the response takes this many seconds (slow=0.5)",
    "duplicate_row": "a page has its first row twice",
    "unknown_fields": "rows have unknown fields",
    "type_change": "a field changes type on every third row (type_change=title)",
    "missing_id": "the last row of a page has no id",
    "strange_text": "NUL, lone surrogates and emoji in text",
    "big_numbers": "integers beyond 64 bits, NaN, and nesting 200 deep",
    "wrong_envelope": "200 with a JSON object in an unknown format",
    "not_ok": "200 with ok: false",
    "redirect": "a redirect to another origin (redirect=http://127.0.0.1:9)",
    "has_more_forever": "has_more is always true",
    "page_total": "total counts the rows of the page only",
    "last_page": "each page claims to be the last, in total and has_more",
    "empty": "the page has no rows, whatever total says",
    "hidden": "a third is missing from pages and total; ids return them",
    "oversize": "limit is ignored: everything is on one page",
    "refuse": "a request with this parameter gets 400 (refuse=ids)",
    "wrong_total": "total is off by this many (wrong_total=-3)",
    "stale": "rows from 300 s ago; needs remember() (stale=300)",
    "stale_total": "total from 300 s ago; needs remember() (stale_total=300)",
    "date_off": "the Date header is off by seconds (date_off=-3600)",
    "no_date": "no Date header",
    "lost_session": "the MCP endpoint loses the session: 404",
    "cut_stream": "the MCP endpoint's stream ends in mid-response",
    "json_answers": "the MCP endpoint responds in JSON, not as a stream",
    "old_catalog": "the MCP endpoint lists the tools from before October 2026",
    "no_search": "the MCP endpoint does not list orgx_search",
    "no_cursor": "typed search returns no cursor, only the next offset",
    "all_workspaces": "typed search without a workspace returns rows of all",
    "transport_exception": "the MCP endpoint sends 200 with JSON-RPC error -32603",
    "tool_text_error": "tools return an error that is only text",
    "upstream_unavailable": "tools report that OrgX is unavailable",
    "no_registration": "the login accepts no registrations",
    "forget_client": "the login no longer knows the registration",
    "refuse_refresh": "refresh tokens are refused",
    "deny": "the user denies consent",
    "wrong_state": "the login redirects with a different state",
    "wrong_iss": "the login redirects with a different issuer",
    "drop_scope": "the user denies these scopes (drop_scope=decisions:read)",
    "memory_by_type": "memory returns its hits by type",
    "memory_flat": "memory returns its hits without data around them",
    "memory_neighbour": "memory hits under this name (memory_neighbour=decisions)",
    "memory_shapeless": "memory returns no hits under any name",
    "memory_fails": "memory returns 200 with ok: false",
    "memory_spent": "the allowance for memory is used up: 402",
    "unknown_tool": "a tool closed to this key (unknown_tool=query_org_memory)",
    "drift": "rows move between two pages (in process only)",
}
_NUMBERS = frozenset({"clamp", "closed", "status", "status_html", "wrong_total"})
_SECONDS = frozenset(
    {"rate_limited", "rate_limited_date", "rate_limited_reset", "slow", "stale", "stale_total", "date_off"}
)
_TEXTS = frozenset({"type_change", "redirect", "refuse", "drop_scope", "memory_neighbour", "unknown_tool"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: What fails; one of `FAULT_KINDS`.
        value: Amount, duration or name, for the kinds that need one. In process, ``stale`` and ``stale_total`` also
            accept a function from the number of the request, from 0, to seconds.
        path: Only requests whose path starts with this.
        entity: Only requests for this entity type.
        times: Applies to this many matching requests; None for all.
        after: Matching requests to skip first.
    """

    kind: str
    value: Any = None
    path: str | None = None
    entity: str | None = None
    times: int | None = None
    after: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known faults: {', '.join(FAULT_KINDS)}")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``kind``, ``kind=value`` and ``kind=value@/path`` as on the command line.

        Raises:
            ValueError: The kind is unknown, or its value is missing or not valid.
        """
        text, _, path = text.partition("@")
        kind, _, given = text.partition("=")
        if kind not in FAULT_KINDS:
            raise ValueError(f"unknown fault {kind!r}; known faults: {', '.join(FAULT_KINDS)}")
        value: Any = None
        if kind in _NUMBERS | _SECONDS | _TEXTS:
            if not given:
                raise ValueError(f"{kind} needs a value: {FAULT_KINDS[kind]}")
            try:
                value = int(given) if kind in _NUMBERS else float(given) if kind in _SECONDS else given
            except ValueError:
                raise ValueError(f"{kind} needs a number, not {given!r}: {FAULT_KINDS[kind]}") from None
        return cls(kind, value, path=path or None)

    @classmethod
    def drift(cls, mutate: Callable[[World, int], None], **where: Any) -> Fault:
        """Call ``mutate(world, number)`` before the page of each matching request is built."""
        return cls("drift", mutate, **where)

    def limited(self, times: int, after: int = 0) -> Fault:
        """Return the same fault for some requests only."""
        return replace(self, times=times, after=after)


@dataclass
class Hits:
    """The faults that apply to one request."""

    faults: dict[str, Fault] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def __contains__(self, kind: str) -> bool:
        return kind in self.faults

    def value(self, kind: str) -> Any:
        """Return the value of a fault; None if it does not apply."""
        fault = self.faults.get(kind)
        return None if fault is None else fault.value

    def seconds(self, kind: str) -> float:
        """Return the seconds of a fault whose value may be a function; 0 if it does not apply."""
        value = self.value(kind)
        return float((value(self.numbers[kind]) if callable(value) else value) or 0)


class FaultBoard:
    """The faults of one sandbox, with a count of matching requests each."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        self._counts: dict[int, int] = {}
        self._lock = threading.Lock()

    def match(self, path: str, entity: str | None) -> Hits:
        """Return the faults that apply to this request, and count it."""
        hits = Hits()
        with self._lock:
            for fault in list(self.faults):
                if fault.path is not None and not path.startswith(fault.path):
                    continue
                if fault.entity is not None and fault.entity != entity:
                    continue
                number = self._counts.get(id(fault), 0)
                self._counts[id(fault)] = number + 1
                if number < fault.after or (fault.times is not None and number >= fault.after + fault.times):
                    continue
                hits.faults[fault.kind] = fault
                hits.numbers[fault.kind] = number
        return hits

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self.faults.clear()
            self._counts.clear()


def distort_rows(rows: list[Row], hits: Hits) -> list[Row]:
    """Return the rows of a page as changed by these faults."""
    rows = [dict(row) for row in rows]
    if "duplicate_row" in hits and rows:
        rows.insert(1, dict(rows[0]))
    if "missing_id" in hits and rows:
        rows[-1].pop("id", None)
    for index, row in enumerate(rows):
        if "unknown_fields" in hits:
            row |= {
                "futureField": index,
                "future_nested": {"b": [index, None], "a": "x"},
                "future flag!": index % 2 == 0,
            }
        if "type_change" in hits and index % 3 == 0:
            name = hits.value("type_change")
            row[name] = {"was": row.get(name)} if index % 2 else [row.get(name), 1]
        if "strange_text" in hits:
            row["summary"] = "nul \x00, half \ud83d, whole \U0001f680, \u202e end"
        if "big_numbers" in hits:
            row["metadata"] = {"id": 2**70 + index, "rate": float("nan"), "deep": _nested(200)}
            row["sequence"] = 2**65
            row["progress_pct"] = float("inf")
    return rows


def _nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = {"n": value}
    return value


def needs_plain_json(hits: Hits) -> bool:
    """Return whether the body has values that only a lenient encoder writes."""
    return "strange_text" in hits or "big_numbers" in hits


def plain_json(document: Any) -> bytes:
    """Encode with NaN as a literal and lone surrogates as escapes."""
    return json.dumps(document, ensure_ascii=True, allow_nan=True).encode()


def http_date(world_now: Any, seconds: float) -> str:
    """Return the HTTP date this many seconds ahead."""
    from datetime import timedelta

    return format_datetime(world_now + timedelta(seconds=seconds), usegmt=True)
