"""The HTTP transport: key, URL, timeouts, query parameters and error mapping. Sends each request once."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

from orgx_source.api.envelope import (
    Page,
    Row,
    envelope_error,
    may_pass,
    parse_error,
    parse_object,
    parse_page,
    parse_workspace,
)
from orgx_source.api.key_mask import MASK, KeyMask
from orgx_source.api.limits import http_date, retry_after
from orgx_source.api.listing import Order
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import BOOTSTRAP_PATH, TOOLS_PATH, Route
from orgx_source.api.transport import Transport
from orgx_source.config import OrgxConfig
from orgx_source.errors import (
    AnswerTooLargeError,
    ApiError,
    ConfigError,
    ConnectionFailedError,
    OrgxError,
    RedirectError,
)
from orgx_source.times import iso_utc
from orgx_source.version import __version__
from orgx_source.web.body import CODINGS, BodyTooLargeError, collect, unpack
from orgx_source.web.network import OverdueError, Patience, find_proxy, make_network

API_VERSION = "2026-04-29"
MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# OrgX's own clients use a timeout of 30 s for live lists and 25 s otherwise.
LIVE_TIMEOUT_SECONDS = 30.0
DEFAULT_TIMEOUT_SECONDS = 25.0
CONNECT_TIMEOUT_SECONDS = 10.0
# Bytes read of an error body: its message is at the start.
REFUSAL_BYTES = 64 * 2**10

T = TypeVar("T")
Parameters = Mapping[str, str | int]

_ORDERS = {Order.CREATED: ("created_at", "asc"), Order.UPDATED: ("updated_at", "desc")}


def query_parameters(route: Route, query: PageQuery) -> dict[str, str | int]:
    """Return the query parameters for a REST route, including those it always has."""
    asked: dict[str, str | int] = dict(route.params)
    if query.workspace_id:
        asked["workspace_id"] = query.workspace_id
        if not route.needs_workspace:
            # OrgX's newest client sends both names with the same value.
            asked["command_center_id"] = query.workspace_id
    if query.order is not Order.UNKNOWN:
        asked["order_by"], asked["order_direction"] = _ORDERS[query.order]
    if query.since is not None and route.since is not None:
        asked[route.since] = iso_utc(query.since)
    if query.parent is not None:
        asked["entity_type"], asked["entity_id"] = query.parent
    if query.equals is not None:
        asked[query.equals[0]] = query.equals[1]
    if query.ids:
        asked["ids"] = ",".join(query.ids)
    if query.fields:
        asked["fields"] = ",".join(query.fields)
    plain = {"limit": query.limit, "offset": query.offset, "cursor": query.cursor}
    return asked | {name: value for name, value in plain.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Answer:
    """A response with the key masked and its size limited."""

    status: int
    headers: httpx.Headers
    content_type: str
    body: bytes


class HttpTransport(Transport):
    """OrgX's REST API; one thread-safe instance with its connections serves a whole run."""

    def __init__(
        self, config: OrgxConfig, transport: httpx.BaseTransport | None = None, *, patience: Patience | None = None
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            config: Key, URL, and the limits of a response.
            transport: An httpx transport; by default the network.
            patience: Limits the time of each request.

        Raises:
            ConfigError: The URL, or the proxy or certificates set in the environment, cannot be used.
        """
        self._config = config
        self._mask = KeyMask(config.api_key)
        self._patience = patience or Patience()
        limits = httpx.Limits(max_connections=config.workers + 2, max_keepalive_connections=config.workers + 2)
        try:
            httpx.URL(config.base_url)
        except httpx.InvalidURL:
            raise ConfigError("The base URL is not valid. Check SOURCES__ORGX__BASE_URL (or ORGX_BASE_URL).") from None
        self._proxy = None if transport is not None else find_proxy(config.base_url)
        self._http = httpx.Client(
            headers={
                "Authorization": f"Bearer {config.api_key}",
                "Accept": "application/json",
                "Accept-Encoding": CODINGS,
                "OrgX-Version": API_VERSION,
                "User-Agent": f"orgx-source/{__version__} (python-httpx/{httpx.__version__})",
            },
            follow_redirects=False,
            trust_env=False,
            transport=transport or make_network(config.base_url, limits, self._proxy, self._patience),
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def bootstrap(self) -> Row:
        """Fetch the workspace that the key resolves to; every valid key may call this.

        Raises:
            AuthError: The key was refused.
            OrgxError: See `fetch_page`.

        Source: API overview, first call.
        """
        return self._get(BOOTSTRAP_PATH, {"source_client": "custom"}, parse_workspace)

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        """Fetch one page of a list route.

        Raises:
            RouteClosedError: The path is closed to this key.
            RateLimitError, ServerError, EnvelopeError, ConnectionFailedError: A retry may succeed.
            AnswerTooLargeError: The response exceeds the size limit.
            RedirectError: OrgX redirected to another origin.
            ConfigError: The proxy refused the connection.
            ApiError: Any other error status.
        """

        def parse(body: bytes, **where: Any) -> Page:
            return parse_page(body, keys=route.keys, unfold=route.unfold, **where)

        page = self._get(route.path, query_parameters(route, query), parse)
        if page.next_cursor is not None and MASK in page.next_cursor:
            # A key in a URL would end up in the logs of every proxy.
            return replace(page, next_cursor=None, has_more=True)
        return page

    def run_tool(self, tool: str, arguments: Mapping[str, Any]) -> Row:
        """Run one of the tools that OrgX opens to keys; return the response unchanged.

        Raises:
            OrgxError: See `fetch_page`; a response with ``ok: false`` is returned.

        Source: memory page.
        """
        return self._get(TOOLS_PATH, {}, parse_object, {"tool_id": tool, "args": dict(arguments)})

    def _get(
        self, path: str, parameters: Parameters, parse: Callable[..., T], body: Mapping[str, Any] | None = None
    ) -> T:
        try:
            answer = self._send(path, parameters, body)
            self.observe(answer.headers)
            self._note_time(answer.headers.get("date", ""))
            where: dict[str, Any] = {"path": path, "content_type": answer.content_type}
            if 200 <= answer.status < 300:
                return parse(answer.body, status=answer.status, **where)
            failure = parse_error(answer.status, answer.body, bootstrap=path == BOOTSTRAP_PATH, **where)
            failure.retry_after = retry_after(answer.headers, time.time())
            raise failure
        except OrgxError as error:
            self._mask_error(error)
            raise

    def _mask_error(self, error: OrgxError) -> None:
        error.args = tuple(self._mask.in_text(str(part)) for part in error.args)
        if isinstance(error, ApiError):
            error.code = error.code and self._mask.in_text(error.code)
            error.request_id = error.request_id and self._mask.in_text(error.request_id)

    def _note_time(self, date: str) -> None:
        moment = http_date(date)
        if moment is not None:
            with suppress(ValueError, OverflowError, OSError):
                self.server_time = datetime.fromtimestamp(moment, UTC)

    def _send(self, path: str, parameters: Parameters, body: Mapping[str, Any] | None) -> _Answer:
        # As text: with separate parameters, httpx parses the URL a second time.
        url = f"{self._config.base_url}{path}"
        url += f"?{urlencode(parameters)}" if parameters else ""
        with self._patience.until(self._config.request_timeout):
            for _ in range(MAX_REDIRECTS):
                answer = self._ask(url, path, body)
                if not (answer.status in REDIRECTS and "location" in answer.headers):
                    return answer
                url = self._redirect(answer.headers["location"], url, path)
        raise RedirectError(f"{path} redirects in a loop at {self._host()}; check the base URL")

    def _ask(self, url: str, path: str, body: Mapping[str, Any] | None) -> _Answer:
        read = LIVE_TIMEOUT_SECONDS if "/live/" in path else DEFAULT_TIMEOUT_SECONDS
        timeout = httpx.Timeout(read, connect=CONNECT_TIMEOUT_SECONDS, pool=None)
        try:
            request = self._http.build_request("GET" if body is None else "POST", url, json=body, timeout=timeout)
        except httpx.InvalidURL as error:
            raise ApiError(f"{path} has an invalid address ({error})", status=0, path=path) from None
        try:
            response = self._http.send(request, stream=True)
            try:
                return self._read(response, path)
            finally:
                response.close()
                # A response and its stream reference each other until the garbage collector runs.
                response.stream = httpx.ByteStream(b"")
        except httpx.InvalidURL:
            raise self._no_address(path) from None
        except (httpx.HTTPError, OverdueError) as error:
            if "location header" in str(error):
                raise self._no_address(path) from None
            raise self._connection_error(error, path) from None

    def _read(self, response: httpx.Response, path: str) -> _Answer:
        status, headers = response.status_code, response.headers
        is_fine = 200 <= status < 300
        most = self._config.max_answer_bytes if is_fine else min(REFUSAL_BYTES, self._config.max_answer_bytes)
        content_type = self._mask.in_text(headers.get("content-type", ""))
        try:
            body = collect(cast(Iterable[bytes], response.stream), most, cut=not is_fine)
            body = unpack(body, headers.get("content-encoding", ""), most, cut=not is_fine)
        except BodyTooLargeError:
            raise AnswerTooLargeError(
                f"{path} returned more than {_size(most)}; the response was rejected. Use smaller pages (page_size), "
                "or raise ORGX_MAX_ANSWER_BYTES",
                status=status,
                path=path,
            ) from None
        except ValueError as error:
            if is_fine:
                raise envelope_error(f"the body {error}", b"", path, content_type, status) from None
            body = b""
        return _Answer(status, headers, content_type, self._mask.in_body(body))

    def _redirect(self, location: str, url: str, path: str) -> str:
        try:
            target = urljoin(url, location)
            here, there = httpx.URL(url), httpx.URL(target)
        except (ValueError, httpx.InvalidURL):
            raise self._no_address(path) from None
        if _origin(here) != _origin(there):
            raise RedirectError(
                f"{path} redirects to another origin, {there.scheme}://{there.host}, where the key is not sent. "
                f"If that is OrgX's new address, set SOURCES__ORGX__BASE_URL to it"
            )
        if self._mask.in_text(target) != target:
            raise RedirectError(f"{path} redirects to an address that contains the key, where others could read it")
        return target

    @staticmethod
    def _no_address(path: str) -> RedirectError:
        return RedirectError(f"{path} redirects to an invalid address; check the base URL")

    def _connection_error(self, error: httpx.HTTPError | OverdueError, path: str) -> OrgxError:
        cause: BaseException = error
        while cause.__cause__ or cause.__context__:
            cause = cause.__cause__ or cause.__context__ or cause
        is_of_http = isinstance(error, httpx.HTTPError) and not isinstance(cause, ssl.SSLError)
        if is_of_http and (failure := self._proxy_error(error, cause)):
            return failure
        if isinstance(error, OverdueError) or (isinstance(error, httpx.TimeoutException) and self._patience.is_over):
            what = f"did not complete its response within {self._config.request_timeout:g} s"
        elif isinstance(error, httpx.TimeoutException):
            what = "timed out"
        elif isinstance(cause, ssl.SSLError):
            what = f"failed the TLS check ({cause.reason or type(cause).__name__})"
        elif isinstance(error, httpx.ConnectError):
            what = f"could not be reached ({cause})"
        else:
            what = f"closed the connection ({type(error).__name__})"
        through = f" through {self._proxy}" if self._proxy is not None else ""
        return ConnectionFailedError(
            f"{self._host()} {what} on {path}{through}; check the base URL and the network, then retry"
        )

    def _proxy_error(self, error: Exception, cause: BaseException) -> OrgxError | None:
        """Return the error if the proxy caused it; None if OrgX may have."""
        if self._proxy is None:
            return None
        variable = self._proxy.variable
        if isinstance(error, httpx.ProxyError):
            status = re.match(r"[1-5]\d\d\b", str(error))
            if status and not may_pass(int(status[0])):
                return ConfigError(
                    f"{self._proxy} refused the connection to {self._host()} ({error}); check {variable}"
                )
            why = f"could not connect to {self._host()} ({error})"
        elif isinstance(error, httpx.ConnectTimeout):
            why = "timed out"
        elif isinstance(error, httpx.ConnectError):
            why = f"could not be reached ({cause})"
        else:
            return None
        return ConnectionFailedError(f"{self._proxy} {why}; check the proxy and {variable}, then retry")

    def _host(self) -> str:
        return urlsplit(self._config.base_url).netloc


def _origin(url: httpx.URL) -> tuple[str, str, int | None, bytes]:
    # httpx's own parsing, because httpx connects; credentials make it a different origin.
    return url.scheme, url.host, url.port, url.userinfo


def _size(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count >= 2**20 else f"{count:,} bytes"
