"""The one door to OrgX over HTTP: key, timeouts, retries, status to error. It knows no rows and no tables."""

from __future__ import annotations

import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

from orgx_source.api.envelope import Page, Row, parse_error, parse_page, parse_workspace
from orgx_source.api.limits import RateBudget, RetryPolicy, Spending, retry_after
from orgx_source.api.routes import BOOTSTRAP_PATH, Route
from orgx_source.config import OrgxConfig
from orgx_source.errors import ConnectionFailedError, EnvelopeError, OrgxError, RateLimitError, RedirectError
from orgx_source.version import __version__

logger = logging.getLogger(__name__)

API_VERSION = "2026-04-29"
REDIRECTS = 5
# OrgX's own clients give live lists 30 s and everything else 25 s.
LIVE_TIMEOUT_SECONDS = 30.0
DEFAULT_TIMEOUT_SECONDS = 25.0
CONNECT_TIMEOUT_SECONDS = 10.0

T = TypeVar("T")
Params = Mapping[str, str | int]


class OrgxClient:
    """Reads OrgX. One instance serves all tables and threads of a run; use it as a context manager.

    Attributes:
        config: The settings it was made from.
        budget: What this run has spent and may spend.
        server_time: What OrgX's clock said with its last answer (HTTP ``Date``); None when it does not say.
    """

    def __init__(
        self,
        config: OrgxConfig,
        *,
        budget: RateBudget | None = None,
        policy: RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.config = config
        self.budget = budget or RateBudget(max_requests=config.max_requests, max_wait=config.max_wait)
        self._policy = policy or RetryPolicy()
        self._rng = random.Random()
        self.server_time: datetime | None = None
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

    def __enter__(self) -> OrgxClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def bootstrap(self) -> Row:
        """Fetch the workspace that the key resolves to; the call that every working key may make.

        Raises:
            AuthError: The key was refused.
            OrgxError: See `get`.

        Source: API overview, first call.
        """
        return self.get(BOOTSTRAP_PATH, {"source_client": "custom"}, parse_workspace)

    def fetch_page(self, route: Route, params: Params, spending: Spending | None = None) -> Page:
        """Fetch one page of a list route.

        Args:
            route: The route.
            params: Query parameters besides the route's own.
            spending: Where to note what it cost.

        Raises:
            OrgxError: See `get`.
        """

        def parse(body: bytes, **where: Any) -> Page:
            return parse_page(body, keys=route.keys, **where)

        return self.get(route.path, {**route.params, **params}, parse, spending)

    def get(self, path: str, params: Params, parse: Callable[..., T], spending: Spending | None = None) -> T:
        """Send one GET, again where that is sensible, and parse the answer.

        Args:
            path: Path below the base URL.
            params: Query parameters.
            parse: Called with the body and ``path``, ``content_type``, ``status``.
            spending: Where to note what it cost.

        Raises:
            AuthError: The key was refused.
            RouteClosedError: The path is closed to this key.
            RateLimitError, ServerError, EnvelopeError, ConnectionFailedError: After the last attempt.
            RedirectError: To another origin.
            BudgetError: The run's requests or waiting time are used up.
        """
        for attempt in range(1, self._policy.attempts + 1):
            asked: float | None = None
            self.budget.acquire(spending)
            try:
                response = self._send(path, params)
                self.budget.observe(response.headers)
                self._note_time(response.headers.get("date", ""))
                content_type = response.headers.get("content-type", "")
                if response.status_code < 400:
                    return parse(
                        self._without_key(response.content),
                        path=path,
                        content_type=content_type,
                        status=response.status_code,
                    )
                failure: OrgxError = parse_error(
                    response.status_code,
                    self._without_key(response.content),
                    path=path,
                    content_type=content_type,
                    bootstrap=path == BOOTSTRAP_PATH,
                )
                asked = retry_after(response.headers, time.time())
            except (EnvelopeError, ConnectionFailedError) as error:
                failure = error
            if not failure.retryable or attempt == self._policy.attempts:
                raise failure
            self._wait(failure, attempt, asked, spending)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _note_time(self, date: str) -> None:
        try:
            self.server_time = parsedate_to_datetime(date).astimezone(UTC)
        except (TypeError, ValueError):
            return

    def _wait(self, failure: OrgxError, attempt: int, asked: float | None, spending: Spending | None) -> None:
        self.budget.note_retry(spending)
        pause = self._policy.pause(attempt, self._rng)
        logger.info("attempt %d failed, trying again: %s", attempt, failure)
        if isinstance(failure, RateLimitError):
            # Jitter on top: all workers were told the same moment.
            seconds = pause if asked is None else asked + self._rng.random() * 0.25
            self.budget.hold(seconds, "OrgX limits the rate", spending)
        else:
            self.budget.pause(pause if asked is None else max(asked, pause), str(failure), spending)

    def _send(self, path: str, params: Params) -> httpx.Response:
        # As text: given as parameters, httpx takes the address apart a second time.
        url = f"{self.config.base_url}{path}?{urlencode(params)}" if params else self.config.base_url + path
        read = LIVE_TIMEOUT_SECONDS if "/live/" in path else DEFAULT_TIMEOUT_SECONDS
        timeout = httpx.Timeout(read, connect=CONNECT_TIMEOUT_SECONDS, pool=None)
        for _ in range(REDIRECTS):
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
        return urlsplit(self.config.base_url).netloc

    def _without_key(self, body: bytes) -> bytes:
        key = self.config.api_key.encode()
        return body.replace(key, b"oxk_***") if key in body else body
