"""OrgX over HTTP: key, address, timeouts, query parameters, status to error. Each request is sent once."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

from orgx_source.api.envelope import Page, Row, parse_error, parse_page, parse_workspace
from orgx_source.api.limits import retry_after
from orgx_source.api.listing import Order
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import BOOTSTRAP_PATH, Route
from orgx_source.api.transport import Transport
from orgx_source.config import OrgxConfig
from orgx_source.errors import ConnectionFailedError, RedirectError
from orgx_source.times import iso_utc
from orgx_source.version import __version__

API_VERSION = "2026-04-29"
MAX_REDIRECTS = 5
# OrgX's own clients give live lists 30 s and everything else 25 s.
LIVE_TIMEOUT_SECONDS = 30.0
DEFAULT_TIMEOUT_SECONDS = 25.0
CONNECT_TIMEOUT_SECONDS = 10.0

T = TypeVar("T")
Parameters = Mapping[str, str | int]

_ORDERS = {Order.CREATED: ("created_at", "asc"), Order.UPDATED: ("updated_at", "desc")}


def query_parameters(route: Route, query: PageQuery) -> dict[str, str | int]:
    """Return a query as OrgX's REST routes spell it, with the parameters that the route always has."""
    asked: dict[str, str | int] = dict(route.params)
    if query.workspace_id:
        asked["workspace_id"] = query.workspace_id
        if not route.needs_workspace:
            # OrgX's newest client sends both names with one value.
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


class HttpTransport(Transport):
    """OrgX's REST API; one instance, with its connections, serves all tables and threads of a run."""

    def __init__(self, config: OrgxConfig, transport: httpx.BaseTransport | None = None) -> None:
        """Prepare; nothing is sent.

        Args:
            config: Key and address.
            transport: httpx's own transport; the network when not given.
        """
        self._config = config
        self._http = httpx.Client(
            headers={
                "Authorization": f"Bearer {config.api_key}",
                "Accept": "application/json",
                "OrgX-Version": API_VERSION,
                "User-Agent": f"orgx-source/{__version__} (python-httpx/{httpx.__version__})",
            },
            limits=httpx.Limits(max_connections=config.workers + 2, max_keepalive_connections=config.workers + 2),
            follow_redirects=False,
            transport=transport,
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def bootstrap(self) -> Row:
        """Fetch the workspace that the key resolves to; the call that every working key may make.

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
            RateLimitError, ServerError, EnvelopeError, ConnectionFailedError: Another try may succeed.
            RedirectError: To another origin.
            ApiError: Any other refusal.
        """

        def parse(body: bytes, **where: Any) -> Page:
            return parse_page(body, keys=route.keys, **where)

        return self._get(route.path, query_parameters(route, query), parse)

    def _get(self, path: str, parameters: Parameters, parse: Callable[..., T]) -> T:
        response = self._send(path, parameters)
        self.observe(response.headers)
        self._note_time(response.headers.get("date", ""))
        body = self._without_key(response.content)
        content_type = response.headers.get("content-type", "")
        if response.status_code < 400:
            return parse(body, path=path, content_type=content_type, status=response.status_code)
        bootstrap = path == BOOTSTRAP_PATH
        failure = parse_error(response.status_code, body, path=path, content_type=content_type, bootstrap=bootstrap)
        failure.retry_after = retry_after(response.headers, time.time())
        raise failure

    def _note_time(self, date: str) -> None:
        try:
            self.server_time = parsedate_to_datetime(date).astimezone(UTC)
        except (TypeError, ValueError):
            return

    def _send(self, path: str, parameters: Parameters) -> httpx.Response:
        # As text: given as parameters, httpx takes the address apart a second time.
        url = f"{self._config.base_url}{path}"
        url += f"?{urlencode(parameters)}" if parameters else ""
        read = LIVE_TIMEOUT_SECONDS if "/live/" in path else DEFAULT_TIMEOUT_SECONDS
        timeout = httpx.Timeout(read, connect=CONNECT_TIMEOUT_SECONDS, pool=None)
        for _ in range(MAX_REDIRECTS):
            try:
                response = self._http.get(url, timeout=timeout)
            except httpx.HTTPError as error:
                raise self._connection_error(error, path) from None
            # A response and its stream hold each other: without this every body stays until cycles are looked for.
            response.stream = httpx.ByteStream(b"")
            if not response.has_redirect_location:
                return response
            url = self._redirect(response, url, path)
        raise RedirectError(f"{path} redirects in circles at {self._host()}; check the base URL")

    def _redirect(self, response: httpx.Response, url: str, path: str) -> str:
        target = urljoin(str(response.url), response.headers["location"])
        here, there = urlsplit(url), urlsplit(target)
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise RedirectError(
                f"{path} redirects to another origin, {there.scheme}://{there.hostname}, where the key is not sent. "
                f"If that is OrgX's address now, set SOURCES__ORGX__BASE_URL to it"
            )
        return target

    def _connection_error(self, error: httpx.HTTPError, path: str) -> ConnectionFailedError:
        cause: BaseException = error
        while cause.__cause__ or cause.__context__:
            cause = cause.__cause__ or cause.__context__ or cause
        if isinstance(error, httpx.TimeoutException):
            what = "did not answer in time"
        elif isinstance(cause, ssl.SSLError):
            what = f"failed the TLS check ({cause.reason or type(cause).__name__})"
        elif isinstance(error, httpx.ConnectError):
            what = f"could not be reached ({cause})"
        else:
            what = f"broke the connection off ({type(error).__name__})"
        return ConnectionFailedError(f"{self._host()} {what} on {path}; check the base URL and the network, then retry")

    def _host(self) -> str:
        return urlsplit(self._config.base_url).netloc

    def _without_key(self, body: bytes) -> bytes:
        key = self._config.api_key.encode()
        return body.replace(key, b"oxk_***") if key in body else body
