"""What can be made to go wrong: switches that change answers the way servers and proxies do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import format_datetime
from typing import Any

from orgx_source.sandbox.world import Row, World

FAULT_KINDS: dict[str, str] = {
    "clamp": "pages hold at most this many rows, whatever was asked for (clamp=40)",
    "no_total": "no total in the answer",
    "no_has_more": "no has_more in the answer",
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
    "reset": "the connection is closed without an answer",
    "cut_body": "the connection is closed in the middle of the body",
    "slow": "the answer takes this many seconds (slow=0.5)",
    "duplicate_row": "a page holds its first row twice",
    "unknown_fields": "rows have fields nobody knows",
    "type_change": "a field has another type on every third row (type_change=title)",
    "missing_id": "the last row of a page has no id",
    "strange_text": "NUL, lone surrogates and emoji in texts",
    "big_numbers": "integers beyond 64 bits, NaN, and nesting 200 deep",
    "wrong_envelope": "200 with a JSON object in an unknown shape",
    "not_ok": "200 with ok: false",
    "redirect": "a redirect to another origin (redirect=http://127.0.0.1:9)",
    "has_more_forever": "has_more is always true",
    "page_total": "total counts the rows of the page only",
    "empty": "the page has no rows, whatever total says",
    "hidden": "a third of the rows is missing, and total does not count them; asked for by ids they are there",
    "oversize": "limit is ignored: everything in one page",
    "refuse": "a request with this parameter is answered with 400 (refuse=ids)",
    "wrong_total": "total is off by this many (wrong_total=-3)",
    "stale": "the answer shows what was there this many seconds ago; the world must remember (stale=300)",
    "stale_total": "total counts the rows of this many seconds ago; the world must remember (stale_total=300)",
    "date_off": "the Date header is off by this many seconds (date_off=-3600)",
    "no_date": "no Date header",
    "lost_session": "the MCP door forgets the session: 404",
    "cut_stream": "the MCP door's stream ends in the middle of the answer",
    "json_answers": "the MCP door answers in JSON, not as a stream",
    "old_catalog": "the MCP door lists the tools of before October 2026",
    "no_search": "the MCP door lists no orgx_search",
    "no_cursor": "typed search names no cursor, only the next offset",
    "all_workspaces": "typed search without a workspace finds the rows of all",
    "transport_exception": "the MCP door answers 200 with a JSON-RPC error -32603",
    "tool_text_error": "tools answer with an error that is only text",
    "upstream_unavailable": "tools answer that OrgX behind them does not",
    "no_registration": "the login takes no registrations",
    "forget_client": "the login does not know the registration any more",
    "refuse_refresh": "refresh tokens are refused",
    "deny": "whoever is asked for consent refuses",
    "wrong_state": "the login comes back with another state",
    "wrong_iss": "the login comes back from another issuer",
    "drop_scope": "whoever consents leaves out these scopes (drop_scope=decisions:read)",
    "memory_by_type": "memory gives its hits by type",
    "memory_flat": "memory gives its hits without data around them",
    "memory_neighbour": "memory gives its hits under another name (memory_neighbour=recommendations)",
    "memory_shapeless": "memory answers without hits under any name",
    "memory_fails": "memory answers 200 with ok: false",
    "memory_spent": "the allowance for memory is spent: 402",
    "unknown_tool": "a tool is not open to this key (unknown_tool=query_org_memory)",
    "drift": "rows move between two pages (in process only)",
}
_NUMBERS = frozenset({"clamp", "closed", "status", "status_html", "wrong_total"})
_SECONDS = frozenset(
    {"rate_limited", "rate_limited_date", "rate_limited_reset", "slow", "stale", "stale_total", "date_off"}
)
_TEXTS = frozenset({"type_change", "redirect", "refuse", "drop_scope", "memory_neighbour", "unknown_tool"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One switch.

    Attributes:
        kind: What goes wrong; one of `FAULT_KINDS`.
        value: How much, how long or what, for the kinds that need it. In process, ``stale`` and ``stale_total`` also
            take a function from the number of the request, from 0, to seconds.
        path: Only requests whose path starts with this.
        entity: Only requests for this entity type.
        times: Only that many matching requests; None for all.
        after: Not the first so many matching requests.
    """

    kind: str
    value: Any = None
    path: str | None = None
    entity: str | None = None
    times: int | None = None
    after: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(FAULT_KINDS)}")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``kind``, ``kind=value`` and ``kind=value@/path`` as on the command line.

        Raises:
            ValueError: No such kind, or a value that is missing or none.
        """
        text, _, path = text.partition("@")
        kind, _, given = text.partition("=")
        if kind not in FAULT_KINDS:
            raise ValueError(f"no fault {kind!r}; there are {', '.join(FAULT_KINDS)}")
        value: Any = None
        if kind in _NUMBERS | _SECONDS | _TEXTS:
            if not given:
                raise ValueError(f"{kind} needs a value: {FAULT_KINDS[kind]}")
            value = int(given) if kind in _NUMBERS else float(given) if kind in _SECONDS else given
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
    """The faults that one request meets."""

    faults: dict[str, Fault] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def __contains__(self, kind: str) -> bool:
        return kind in self.faults

    def value(self, kind: str) -> Any:
        """Return the value of a fault that is hit, else None."""
        fault = self.faults.get(kind)
        return None if fault is None else fault.value

    def seconds(self, kind: str) -> float:
        """Return how long, for a kind whose value may be a function; 0 where it is not hit."""
        value = self.value(kind)
        return float((value(self.numbers[kind]) if callable(value) else value) or 0)


class FaultBoard:
    """The switches of one sandbox, with a count of matching requests each."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        self._counts: dict[int, int] = {}
        self._lock = threading.Lock()

    def match(self, path: str, entity: str | None) -> Hits:
        """Return what this request meets, and count it."""
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
        """Switch everything off."""
        with self._lock:
            self.faults.clear()
            self._counts.clear()


def distort_rows(rows: list[Row], hits: Hits) -> list[Row]:
    """Return the rows of a page as these faults show them."""
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
    """Whether the body holds what only a lenient encoder writes."""
    return "strange_text" in hits or "big_numbers" in hits


def plain_json(document: Any) -> bytes:
    """Encode with NaN as a literal and lone surrogates as escapes."""
    return json.dumps(document, ensure_ascii=True, allow_nan=True).encode()


def http_date(world_now: Any, seconds: float) -> str:
    """Return an HTTP date some seconds ahead."""
    from datetime import timedelta

    return format_datetime(world_now + timedelta(seconds=seconds), usegmt=True)
