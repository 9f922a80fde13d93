"""The MCP transport: queries as calls of ``orgx_search``, results as pages; one session per run.

The official SDK does the protocol (`mcp_session`). It is imported when the first session is opened, because that takes
seconds. Each request is sent once, except after a lost session or an expired token.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from orgx_source.api.envelope import Page, Row, excerpt, parse_error
from orgx_source.api.limits import retry_after
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import Route
from orgx_source.api.transport import Transport
from orgx_source.errors import (
    AnswerTooLargeError,
    ApiError,
    ConfigError,
    ConnectionFailedError,
    EnvelopeError,
    OrgxError,
    RedirectError,
    RouteClosedError,
    ScopeError,
    ServerError,
)
from orgx_source.login.tokens import Tokens
from orgx_source.web.network import check_network

SEARCH = "orgx_search"
MOST_ROWS = 100
# initialize, its notification, tools/list, and the final DELETE, which is counted in advance.
REQUESTS_TO_OPEN = 3
LOST_STATUSES = frozenset({404, 409})
# A position that OrgX gives as a number is passed on as a cursor of our own.
PLACE = "\x00place "
_SCOPE = re.compile(r'scope="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool offered by a session.

    Attributes:
        name: Its name.
        arguments: Names of its arguments; empty if it declares none.
    """

    name: str
    arguments: frozenset[str] = frozenset()


@dataclass
class Outcome:
    """The outcome of one request.

    Attributes:
        status: HTTP status; 0 if there was no response.
        headers: Response headers, in lower case.
        body: Response body.
        trouble: Why there was no usable response.
        is_too_large: Whether the response exceeded the size limit.
        rpc_error: JSON-RPC error: code, message, data.
        is_error: Whether the tool reported an error.
        structured: Structured result of the tool.
        text: Text result of the tool.
        meta: Metadata of the result.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    trouble: str | None = None
    is_too_large: bool = False
    rpc_error: tuple[int, str, Any] | None = None
    is_error: bool = False
    structured: Mapping[str, Any] | None = None
    text: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


class Session(Protocol):
    """One session: the part of the SDK that `McpTransport` needs. Thread-safe."""

    def open(self, token: str) -> tuple[Outcome, list[Tool]]:
        """Initialize and list the tools: three requests."""

    def call(self, token: str, tool: str, arguments: Mapping[str, Any]) -> Outcome:
        """Call a tool: one request."""

    def close(self, token: str | None) -> None:
        """End the session: one request, or none without a token."""


def connect_with(max_bytes: int) -> Callable[[str], Session]:
    """Return what creates sessions with the official SDK, imported only then.

    Args:
        max_bytes: Maximum size of one decompressed response.
    """

    def connect(url: str) -> Session:
        from orgx_source.api.mcp_session import SdkSession

        # The session's thread would only end.
        check_network(url)
        return SdkSession(url, max_bytes)

    return connect


class McpTransport(Transport):
    """OrgX's MCP endpoint; one thread-safe instance serves a whole run."""

    def __init__(self, url: str, tokens: Tokens, connect: Callable[[str], Session]) -> None:
        """Prepare; nothing is sent.

        Args:
            url: URL of the endpoint.
            tokens: Provides access tokens.
            connect: Creates a session without opening it.
        """
        self._url = url
        self._path = urlsplit(url).path or "/"
        self._tokens = tokens
        self._connect = connect
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._tools: dict[str, Tool] = {}
        self._paid_for_end = False
        self._overhead = 0

    def close(self) -> None:
        """End the session."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close(self._tokens.last)

    @property
    def overhead(self) -> int:
        """Return the number of requests that fetch no page, as far as known."""
        return self._overhead

    def bootstrap(self) -> Row:
        """Fetch the workspaces, and return the session's own.

        Raises:
            OrgxError: See `fetch_page`.
        """
        page = self._search("workspace", {"type": "workspace", "limit": MOST_ROWS}, None)
        self._overhead += 1
        rows = [row for row in page.rows if row.get("id")]
        if not rows:
            raise EnvelopeError("OrgX lists no workspace for this login", status=200, path=self._path)
        self.workspaces = rows if page.next_cursor is None else None
        return dict(next((row for row in rows if row.get("is_default")), rows[0]))

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        """Fetch one page of a typed search.

        Raises:
            ScopeError: The login lacks a required scope.
            RouteClosedError: The session does not offer the tool, or refuses it.
            RateLimitError, ServerError, EnvelopeError, ConnectionFailedError: A retry may succeed.
            ConfigError: The login has expired.
            ApiError: Any other refusal.
        """
        entity_type = route.params["type"]
        # Every request repeats all filters: the next call that OrgX suggests has dropped filters before.
        arguments: dict[str, Any] = {"type": entity_type, "limit": min(query.limit or MOST_ROWS, MOST_ROWS)}
        if query.workspace_id:
            arguments["workspace_id"] = query.workspace_id
        if query.fields:
            arguments["fields"] = list(query.fields)
        if query.cursor is not None and query.cursor.startswith(PLACE):
            arguments["offset"] = int(query.cursor.removeprefix(PLACE))
        elif query.cursor is not None:
            arguments["cursor"] = query.cursor
        elif query.offset:
            arguments["offset"] = query.offset
        return self._search(entity_type, arguments, query)

    def _search(self, entity_type: str, arguments: dict[str, Any], query: PageQuery | None) -> Page:
        outcome = self._call(SEARCH, arguments)
        known = self._tools[SEARCH].arguments
        return page_of(outcome, entity_type, arguments, path=self._path, by_cursor=not known or "cursor" in known)

    # -- one call --------------------------------------------------------------------------------------------------

    def _call(self, tool: str, arguments: Mapping[str, Any]) -> Outcome:
        """Call a tool; reopen a lost session once, and refresh an expired token once."""
        lost = renewed = False
        while True:
            token = self._tokens.access()
            try:
                sent, session = True, self._open(token)
                outcome = session.call(token, tool, arguments)
            except _OpeningError as error:
                sent, session, outcome = False, error.session, error.outcome
            self._note(outcome)
            if outcome.status == 401 and not renewed:
                self._tokens.renew(token)
                renewed = True
            elif outcome.status in LOST_STATUSES and not lost:
                self._forget(session)
                lost = True
            else:
                self._raise_for(outcome, tool, session)
                return outcome
            if sent:
                self.spend()

    def _open(self, token: str) -> Session:
        with self._lock:
            if self._session is None:
                for _ in range(REQUESTS_TO_OPEN + (not self._paid_for_end)):
                    self.spend()
                self._paid_for_end = True
                self._overhead = max(self._overhead, REQUESTS_TO_OPEN + 1)
                session = self._connect(self._url)
                outcome, tools = session.open(token)
                if outcome.status != 200 or outcome.rpc_error or outcome.trouble:
                    session.close(None)
                    raise _OpeningError(session, outcome)
                self._session, self._tools = session, {tool.name: tool for tool in tools}
            if SEARCH not in self._tools:
                listed = ", ".join(sorted(self._tools)) or "none"
                raise RouteClosedError(
                    f"{self._path} does not offer the tool {SEARCH} to this login (it offers {listed}); log in "
                    "again and allow initiatives:read",
                    status=403,
                    path=self._path,
                )
            return self._session

    def _forget(self, session: Session) -> None:
        """Open a new session for the next call, unless another thread already has."""
        with self._lock:
            if self._session is session:
                self._session = None
        session.close(None)

    def _note(self, outcome: Outcome) -> None:
        self.observe(_without_the_end(outcome.headers))
        try:
            self.server_time = parsedate_to_datetime(outcome.headers.get("date", "")).astimezone(UTC)
        except (TypeError, ValueError):
            return

    def _raise_for(self, outcome: Outcome, tool: str, session: Session) -> None:
        failure = failure_of(outcome, tool, path=self._path, host=urlsplit(self._url).netloc)
        if failure is None:
            return
        if isinstance(failure, ConnectionFailedError) or outcome.status in LOST_STATUSES:
            # Whatever the cause, the next attempt uses a new session.
            self._forget(session)
        if outcome.status == 429 or "retry-after" in outcome.headers:
            # Every response says when the allowance resets; only these ask to wait for it.
            failure.retry_after = retry_after(outcome.headers, time.time())
        raise failure


class _OpeningError(Exception):
    """A session could not be opened; holds the outcome."""

    def __init__(self, session: Session, outcome: Outcome) -> None:
        super().__init__()
        self.session, self.outcome = session, outcome


def _without_the_end(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the allowance in a response, less the one request that ends the session."""
    remaining = headers.get("x-ratelimit-remaining", "")
    return {**headers, "x-ratelimit-remaining": str(max(0, int(remaining) - 1))} if remaining.isdigit() else headers


# -- what an answer means ------------------------------------------------------------------------------------------


def failure_of(outcome: Outcome, tool: str, *, path: str, host: str) -> OrgxError | None:
    """Return a failure as an `OrgxError`; None if the tool succeeded.

    Args:
        outcome: The outcome of the call.
        tool: The tool that was called.
        path: Path of the endpoint, for the error.
        host: Its host, for the error.
    """
    status = outcome.status
    if outcome.is_too_large:
        return AnswerTooLargeError(
            f"{path} {outcome.trouble}; the response was rejected. If OrgX sends such responses, raise "
            "ORGX_MAX_ANSWER_BYTES",
            status=status,
            path=path,
        )
    if outcome.trouble is not None and status == 0:
        return ConnectionFailedError(f"{host} {outcome.trouble} on {path}; check ORGX_MCP_URL and the network")
    if 300 <= status < 400:
        target = urlsplit(outcome.headers.get("location", ""))
        return RedirectError(
            f"{path} redirects to another origin, {target.scheme}://{target.hostname}, where the token is not sent. If "
            "that is OrgX's address now, set ORGX_MCP_URL to it"
        )
    if status == 401:
        # A token that could not be refreshed raised an error before; this one was new.
        return ConfigError(f"{host} refused a token that was just refreshed; log in again: orgx-sync login")
    if status == 403 and (scope := _SCOPE.search(outcome.headers.get("www-authenticate", ""))):
        return _scope_error(scope[1], path)
    if status in LOST_STATUSES:
        return ServerError(f"{status} from {path}: OrgX lost the session twice in a row", status=0, path=path)
    if status >= 400:
        return parse_error(status, outcome.body, path=path, content_type=outcome.headers.get("content-type", ""))
    if outcome.rpc_error is not None:
        return _of_rpc(outcome, path)
    return _of_tool(outcome, tool, path)


def _of_rpc(outcome: Outcome, path: str) -> OrgxError:
    assert outcome.rpc_error is not None
    code, message, data = outcome.rpc_error
    said = data if isinstance(data, Mapping) else {}
    if code == -32603 or said.get("retryable") is True:
        what = said.get("code") or message
        return ServerError(f"200 from {path}, but with the error {code} ({what})", status=500, path=path)
    if outcome.trouble is not None or code == -32000:
        return ConnectionFailedError(f"{path} interrupted the response ({outcome.trouble or message})")
    content_type = outcome.headers.get("content-type", "")
    if code == -32602:
        return ApiError(f"{path} refused: {message}", status=400, path=path)
    return EnvelopeError(
        f"200 from {path}, but the response could not be read ({message}); {excerpt(outcome.body, content_type)}",
        status=200,
        path=path,
    )


def _of_tool(outcome: Outcome, tool: str, path: str) -> OrgxError | None:
    """Return why a tool failed, structured or as text; None if it did not."""
    structured = outcome.structured or {}
    error = structured.get("error")
    if not outcome.is_error and structured.get("ok") is not False and not (error and "results" not in structured):
        return None
    inner: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    found = inner.get("details")
    details: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    code = str(inner.get("code") or structured.get("error_type") or "")
    text = str(inner.get("message") or (error if isinstance(error, str) else "") or outcome.text or "no reason given")
    status = inner.get("status") if isinstance(inner.get("status"), int) else 0
    said = f"{tool} on {path} failed: {text[:300]}" + (f" ({code})" if code else "")
    if code == "permission_denied":
        if scope := _missing_scope(details, outcome.meta):
            return _scope_error(scope, path)
        return RouteClosedError(said, status=403, path=path, code=code)
    if code == "upstream_unavailable" or details.get("retryable") is True:
        return ServerError(said, status=503, path=path, code=code)
    if code == "entity_not_found":
        return RouteClosedError(said, status=404, path=path, code=code)
    if code == "invalid_search_response":
        return EnvelopeError(said, status=200, path=path, code=code)
    return ApiError(said, status=status or 400, path=path, code=code or None)


def _missing_scope(details: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    granted = details.get("granted_scopes") or ()
    required = [str(scope) for scope in details.get("required_scopes") or () if scope not in granted]
    if required:
        return " ".join(required)
    found = _SCOPE.search(str(meta.get("mcp/www_authenticate", "")).replace("\\", ""))
    return found[1] if found else ""


def _scope_error(scope: str, path: str) -> ScopeError:
    return ScopeError(
        f"This login lacks the scope {scope}; log in again (orgx-sync login) and allow it",
        status=403,
        path=path,
        code="insufficient_scope",
    )


def page_of(
    outcome: Outcome, entity_type: str, arguments: Mapping[str, Any], *, path: str, by_cursor: bool = True
) -> Page:
    """Return the result of a typed search as a page.

    Args:
        outcome: A successful call.
        entity_type: The requested type.
        arguments: The arguments of the call.
        path: Path of the endpoint, for errors.
        by_cursor: Whether the tool takes cursors; else positions are offsets.

    Raises:
        EnvelopeError: It has no list of rows of that type, or only an excerpt.
    """
    structured = outcome.structured or {}
    found = structured.get("pagination")
    pagination: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    if problem := _problem_with(structured, pagination, entity_type):
        raise EnvelopeError(f"200 from {path}, but {SEARCH} answered {problem}", status=200, path=path)
    rows = structured["results"]
    total, limit, offset = (_count(pagination.get(name)) for name in ("total", "limit", "offset"))
    place = (arguments.get("offset", 0) if offset is None else offset) + (limit or arguments["limit"])
    has_more = pagination.get("has_more")
    if not isinstance(has_more, bool):
        has_more = None if total is None or ("cursor" in arguments and offset is None) else place < total
    cursor = pagination.get("next_cursor") if by_cursor else None
    if not isinstance(cursor, str) or not cursor:
        following = _count(pagination.get("next_offset"))
        known = "cursor" not in arguments or offset is not None
        place = place if following is None and known else following
        cursor = f"{PLACE}{place}" if (has_more or following is not None) and place is not None else None
    return Page(
        rows=[_without_type(row, entity_type) for row in rows],
        total=total,
        offset=offset,
        limit=limit,
        has_more=has_more,
        next_cursor=cursor,
        names_no_cursor="next_cursor" in pagination and cursor is None and not has_more,
    )


def _problem_with(structured: Mapping[str, Any], pagination: Mapping[str, Any], entity_type: str) -> str | None:
    rows = structured.get("results")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return f"without a list of results (it has {', '.join(sorted(structured)) or 'nothing'})"
    if structured.get("type", entity_type) != entity_type:
        return f"with rows of type {structured['type']} instead of {entity_type}"
    if pagination.get("exhaustive") is False or pagination.get("mode") == "relevance_window":
        return "with the most relevant rows only, not with the list"
    return None


def _without_type(row: dict[str, Any], entity_type: str) -> Row:
    """Return a row without ``type``: here it is the entity type, elsewhere the kind of a task or decision."""
    return {key: value for key, value in row.items() if key != "type"} if row.get("type") == entity_type else row


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


__all__ = ["McpTransport", "Outcome", "Session", "Tool", "failure_of", "page_of"]
