"""The one sender of a run: every request passes its budget, and is sent again where that is sensible.

It knows neither HTTP nor tables: how a request travels is the transport's work.
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
    """Reads OrgX. One instance serves all tables and threads of a run; use it as a context manager.

    Attributes:
        config: The settings it was made from.
        budget: What this run has spent and may spend.
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
            budget: From the settings when not given.
            policy: How often a request is sent, and how long to wait between.
            transport: How a request travels; over HTTP when not given.
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
        """Return what OrgX's clock said with its last answer; None when it does not say."""
        return self._transport.server_time

    @property
    def workspaces(self) -> Sequence[Row] | None:
        """Return the workspaces that are seen, where bootstrap has told them all; else None."""
        return self._transport.workspaces

    @property
    def overhead(self) -> int:
        """Return how many requests of a run are no pages, as far as is known so far."""
        return self._transport.overhead

    def bootstrap(self) -> Row:
        """Fetch the workspace that the key resolves to.

        Raises:
            AuthError: The key was refused.
            OrgxError: See `fetch_page`.
        """
        return self._send(self._transport.bootstrap, None)

    def fetch_page(self, route: Route, query: PageQuery, spending: Spending | None = None) -> Page:
        """Fetch one page of a list, with another try where that is sensible.

        Args:
            route: The route.
            query: What is asked of it.
            spending: Where to note what it cost.

        Raises:
            OrgxError: From the transport, after the last attempt.
            BudgetError: The run's requests or waiting time are used up.
        """
        return self._send(lambda: self._transport.fetch_page(route, query), spending)

    def run_tool(self, tool: str, arguments: Mapping[str, Any], spending: Spending | None = None) -> Row:
        """Let OrgX run a tool, with another try where that is sensible: not where its allowance is spent.

        Args:
            tool: Id of the tool.
            arguments: The arguments of the tool.
            spending: Where to note what it cost.

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
        logger.info("attempt %d failed, trying again: %s", attempt, failure)
        if isinstance(failure, RateLimitError):
            # Jitter on top: all workers were told the same moment.
            seconds += 0.0 if asked is None else self._rng.random() * 0.25
            self.budget.hold(seconds, "OrgX limits the rate", spending)
        else:
            self.budget.pause(seconds, str(failure), spending)
