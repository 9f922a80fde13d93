"""Rate limits: backoff, ``Retry-After``, and one budget shared by all workers.

The clock and the sleep function are passed in; nothing here uses a socket or real time.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from orgx_source.errors import BudgetError

Clock = Callable[[], float]

_NAMES = ("limit", "remaining", "reset")
# Smaller numbers are seconds from now, larger ones unix seconds (from 1973) or milliseconds.
_EPOCH, _MILLISECONDS = 1e8, 1e11
_NUMBER = re.compile(r"\s*(-?\d{1,300}(?:\.\d{1,300})?)\s*(?:[,;]|$)", re.ASCII)
# Maximum wait: 30 years.
LONGEST = 1e9
# Tolerance between two reset times of one window, given in whole seconds.
SAME_WINDOW_SECONDS = 1.5
Sleep = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is retried, and the pauses in between.

    The pause before attempt ``n`` is drawn from ``[d/2, d]`` with ``d = min(cap, base * 2**(n-2))`` seconds.

    Attributes:
        attempts: Maximum number of requests for one page, including the first.
        base_seconds: Maximum pause before the second attempt.
        cap_seconds: Maximum pause, unless OrgX asks for a longer one.
    """

    attempts: int = 5
    base_seconds: float = 0.5
    cap_seconds: float = 20.0

    def pause(self, attempt: int, rng: random.Random) -> float:
        """Return the seconds to wait after attempt number ``attempt`` (from 1) failed."""
        longest = min(self.cap_seconds, self.base_seconds * 2.0 ** (attempt - 1))
        return longest * (0.5 + rng.random() / 2)


@dataclass(frozen=True, slots=True)
class Told:
    """The rate-limit information of a response, with times on this machine's clock.

    Attributes:
        limit, remaining: Requests per window, and those left; None if not given or ``unlimited``.
        reset_at: End of the window in unix seconds; None if not given.
        wait: Seconds to wait before the next request; None if not given.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_at: float | None = None
    wait: float | None = None


def read_limits(headers: Mapping[str, str], now: float) -> Told:
    """Return the rate-limit information in the headers of a response.

    Reads ``Retry-After`` in seconds or as an HTTP date, and ``X-RateLimit-*``, else ``RateLimit-*``. A reset may be a
    time (unix seconds or milliseconds, or a date) or seconds from now. Times are compared with the response's own
    ``Date``, if any, because the clocks may differ. ``Retry-After`` takes precedence over the reset.

    Args:
        headers: Headers of the response, case-insensitive.
        now: Unix seconds.
    """
    there = http_date(headers.get("date", ""))
    there = now if there is None else there
    asked = _seconds_until(headers.get("retry-after", ""), there, epoch=LONGEST)
    prefix = next((p for p in ("x-ratelimit-", "ratelimit-") if any(f"{p}{n}" in headers for n in _NAMES)), "")
    limit, remaining, reset = (headers.get(f"{prefix}{name}", "") if prefix else "" for name in _NAMES)
    left = _number(remaining)
    until = asked if asked is not None else _seconds_until(reset, there, epoch=_EPOCH)
    return Told(
        limit=None if (most := _number(limit)) is None else int(most),
        remaining=None if left is None else int(left),
        reset_at=None if until is None else now + until,
        wait=None if until is None else max(0.0, until),
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that OrgX asks to wait; None if not given. See `read_limits`."""
    return read_limits(headers, now).wait


@dataclass
class Spending:
    """The cost of reading one table.

    Attributes:
        requests: Requests sent, retries included.
        retries: Requests sent again.
        waited_seconds: Total time its requests waited; parallel waits are added up.
    """

    requests: int = 0
    retries: int = 0
    waited_seconds: float = 0.0


@dataclass
class RateBudget:
    """The budget of a run: requests and waiting time.

    One instance serves every worker. ``acquire`` is called before each request and ``observe`` after it.
    A wait that OrgX asks for holds back all workers, not only the one that received it.

    Attributes:
        max_requests: Requests this run may send; None for no limit.
        max_wait: Seconds this run may spend waiting on limits and backoff, as wall-clock time.
        spent: Requests sent.
        waited: Seconds spent waiting; overlapping waits count once.
        sleep: Replaces the wait that `stop` interrupts.
        limit, remaining, reset_at: Last values from OrgX; None if not given or ``unlimited``.
    """

    max_requests: int | None = None
    max_wait: float = 900.0
    clock: Clock = time.time
    sleep: Sleep | None = None
    spent: int = 0
    retries: int = 0
    waited: float = 0.0
    limit: int | None = None
    remaining: int | None = None
    reset_at: float | None = None
    on_wait: Callable[[float, str], None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False)
    _hold_until: float = 0.0
    _hold_why: str = ""
    _counted_until: float = 0.0

    def acquire(self, spending: Spending | None = None) -> None:
        """Take one request from the budget, after waiting as long as OrgX asks.

        Args:
            spending: Records the request too.

        Raises:
            BudgetError: The requests are used up, the wait would exceed ``max_wait``, or the run was interrupted.
        """
        while True:
            with self._lock:
                if self.stopped:
                    raise BudgetError("the run was interrupted")
                if self.max_requests is not None and self.spent >= self.max_requests:
                    raise BudgetError(
                        f"this run's {self.max_requests} requests are used up (--max-requests); the rows read are kept"
                    )
                now = self.clock()
                wait = max(self._hold_until, self._exhausted_until(now)) - now
                if wait <= 0:
                    self.spent += 1
                    if spending is not None:
                        spending.requests += 1
                    if self.remaining is not None:
                        self.remaining -= 1
                    return
            self._wait_until(now + wait, self._hold_why or "the rate limit is used up", spending)

    def stop(self) -> None:
        """Wake all waiting threads and refuse further requests, to end the run."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Return whether further requests are refused."""
        return self._stopped.is_set()

    def note_retry(self, spending: Spending | None = None) -> None:
        """Count a retry."""
        with self._lock:
            self.retries += 1
            if spending is not None:
                spending.retries += 1

    def hold(self, seconds: float, why: str, spending: Spending | None = None) -> None:
        """Hold back every request for ``seconds`` from now, and wait.

        Raises:
            BudgetError: The wait would exceed ``max_wait``.
        """
        with self._lock:
            until = self.clock() + seconds
            if until > self._hold_until:
                self._hold_until, self._hold_why = until, why
        self._wait_until(until, why, spending)

    def pause(self, seconds: float, why: str, spending: Spending | None = None) -> None:
        """Wait without holding back other requests, for the backoff of one request.

        Raises:
            BudgetError: The wait would exceed ``max_wait``.
        """
        self._wait_until(self.clock() + seconds, why, spending)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Update the limits from a response; see `read_limits`."""
        told = read_limits(headers, self.clock())
        if told.limit is None and told.remaining is None and told.reset_at is None:
            return
        with self._lock:
            self.limit = told.limit
            known, self.remaining = self.remaining, told.remaining
            if known is not None and told.remaining is not None and _is_same_window(self.reset_at, told.reset_at):
                # Responses can arrive out of order: within one window, the smallest number is the newest.
                self.remaining = min(known, told.remaining)
            self.reset_at = told.reset_at

    def _exhausted_until(self, now: float) -> float:
        if self.remaining is not None and self.remaining <= 0 and self.reset_at is not None and self.reset_at > now:
            return self.reset_at
        return 0.0

    def _wait_until(self, until: float, why: str, spending: Spending | None) -> None:
        with self._lock:
            start = self.clock()
            seconds = until - start
            if seconds <= 0:
                return
            if self.waited + seconds > self.max_wait:
                raise BudgetError(
                    f"{why}: waiting {_about(seconds)} more would exceed --max-wait ({self.max_wait:.0f} s, "
                    f"{self.waited:.0f} s waited so far); the rows read are kept"
                )
            overlap = max(0.0, min(until, self._counted_until) - start)
            self.waited += seconds - overlap
            if spending is not None:
                spending.waited_seconds += seconds
            self._counted_until = max(self._counted_until, until)
        if self.on_wait is not None and overlap < seconds:
            self.on_wait(seconds, why)
        (self.sleep or self._stopped.wait)(seconds)


def _is_same_window(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME_WINDOW_SECONDS


def _number(text: str) -> float | None:
    """Return the leading number of a header; text after a comma or semicolon is a parameter."""
    found = _NUMBER.match(text)
    return float(found[1]) if found else None


def _seconds_until(text: str, there: float, *, epoch: float) -> float | None:
    """Return the seconds from now until the time in a header: a time, a date or seconds.

    Args:
        text: The header value.
        there: Current unix seconds by the sender's clock.
        epoch: Numbers from this value on are times.
    """
    number = _number(text)
    if number is None:
        moment = http_date(text) or _iso_date(text)
        number = None if moment is None else moment - there
    elif number >= epoch:
        number = (number / 1000 if number >= _MILLISECONDS else number) - there
    return None if number is None else min(number, LONGEST)


def http_date(text: str) -> float | None:
    """Return the unix seconds of an HTTP date; None for anything else."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _iso_date(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _about(seconds: float) -> str:
    """Return a wait as text, rounded so that two tables that hit one limit show the same text."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
