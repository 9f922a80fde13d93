"""The client of a run: checks every request against the budget and retries where that is sensible.

It knows neither HTTP nor tables; the transport sends the requests.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from orgx_source.api.doors import open_doors
from orgx_source.api.envelope import Page, Row
from orgx_source.api.limits import RateBudget, RetryPolicy, Spending
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import Route
from orgx_source.api.transport import Transport
from orgx_source.config import OrgxConfig
from orgx_source.errors import OrgxError, RateLimitError

logger = logging.getLogger(__name__)

T = TypeVar("T")


class OrgxClient:
    """Reads OrgX. One thread-safe instance serves all tables of a run; use it as a context manager.

    Attributes:
        config: The settings.
        budget: The run's spending and its limits.
    """

    def __init__(
        self,
        config: OrgxConfig,
        *,
        budget: RateBudget | None = None,
        policy: RetryPolicy | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            config: Key, address, and how much may be spent.
            budget: By default created from the settings.
            policy: Number of attempts, and the waits in between.
            transport: Sends the requests; by default over HTTP.
        """
        self.config = config
        self.budget = budget or RateBudget(max_requests=config.max_requests, max_wait=config.max_wait)
        self._policy = policy or RetryPolicy()
        self._rng = random.Random()
        self._transport = transport or open_doors(config)
        self._transport.observe = self.budget.observe
        self._transport.spend = self.budget.acquire

    def __enter__(self) -> OrgxClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    @property
    def server_time(self) -> datetime | None:
        """Return OrgX's time in its last response; None if it sent none."""
        return self._transport.server_time

    @property
    def workspaces(self) -> Sequence[Row] | None:
        """Return the visible workspaces if bootstrap listed them all; else None."""
        return self._transport.workspaces

    @property
    def overhead(self) -> int:
        """Return the number of requests that fetch no page, as far as known."""
        return self._transport.overhead

    def bootstrap(self) -> Row:
        """Fetch the workspace that the key resolves to.

        Raises:
            AuthError: The key was refused.
            OrgxError: See `fetch_page`.
        """
        return self._send(self._transport.bootstrap, None)

    def fetch_page(self, route: Route, query: PageQuery, spending: Spending | None = None) -> Page:
        """Fetch one page of a list, with retries.

        Args:
            route: The route.
            query: The query.
            spending: Records the cost.

        Raises:
            OrgxError: From the transport, after the last attempt.
            BudgetError: The run's requests or waiting time are used up.
        """
        return self._send(lambda: self._transport.fetch_page(route, query), spending)

    def run_tool(self, tool: str, arguments: Mapping[str, Any], spending: Spending | None = None) -> Row:
        """Run a tool at OrgX, with retries; no retry if its allowance is used up.

        Args:
            tool: Id of the tool.
            arguments: The arguments of the tool.
            spending: Records the cost.

        Raises:
            OrgxError: From the transport; a `RateLimitError` at once.
            BudgetError: The run's requests or waiting time are used up.
        """

        def ask() -> Row:
            try:
                return self._transport.run_tool(tool, arguments)
            except RateLimitError as spent:
                spent.retryable = False
                raise

        return self._send(ask, spending)

    def _send(self, request: Callable[[], T], spending: Spending | None) -> T:
        attempt = 1
        while True:
            self.budget.acquire(spending)
            try:
                return request()
            except OrgxError as error:
                if not error.retryable or attempt == self._policy.attempts:
                    raise
                failure = error
            self._wait(failure, attempt, spending)
            attempt += 1

    def _wait(self, failure: OrgxError, attempt: int, spending: Spending | None) -> None:
        self.budget.note_retry(spending)
        pause, asked = self._policy.pause(attempt, self._rng), failure.retry_after
        # A server may ask for a longer pause than ours, never for a shorter one.
        seconds = pause if asked is None else max(asked, pause)
        logger.info("attempt %d failed, retrying: %s", attempt, failure)
        if isinstance(failure, RateLimitError):
            # Add jitter: all workers were given the same time.
            seconds += 0.0 if asked is None else self._rng.random() * 0.25
            self.budget.hold(seconds, "OrgX rate limit reached", spending)
        else:
            self.budget.pause(seconds, str(failure), spending)
