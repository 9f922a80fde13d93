"""When to wait, and when to stop: backoff, ``Retry-After``, and one budget that all workers share.

Decides only. The clock and the sleep are passed in, so nothing here touches a socket or a real second.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from orgx_source.errors import BudgetError

Clock = Callable[[], float]
Sleep = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a read is repeated, and how long between.

    The pause before attempt ``n`` is drawn from ``[d/2, d]`` with ``d = min(cap, base * 2**(n-2))`` seconds.

    Attributes:
        attempts: Requests sent at most for one page, the first included.
        base_seconds: Longest pause before the second attempt.
        cap_seconds: Longest pause at all, unless OrgX names a longer one.
    """

    attempts: int = 5
    base_seconds: float = 0.5
    cap_seconds: float = 20.0

    def pause(self, attempt: int, rng: random.Random) -> float:
        """Return the seconds to wait after attempt number ``attempt`` (from 1) failed."""
        longest = min(self.cap_seconds, self.base_seconds * 2.0 ** (attempt - 1))
        return longest * (0.5 + rng.random() / 2)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return how many seconds OrgX asks to wait, or None when it does not say.

    Reads ``Retry-After`` as seconds or as an HTTP date, else ``X-RateLimit-Reset`` as unix seconds.
    The date is compared with the answer's own ``Date`` when there is one: two clocks need not agree.

    Args:
        headers: Headers of the answer, looked up without regard to case.
        now: Unix seconds.
    """
    value = headers.get("retry-after", "").strip()
    if value:
        seconds = _number(value)
        if seconds is not None:
            return max(0.0, seconds)
        moment = _http_date(value)
        if moment is not None:
            return max(0.0, moment - (_http_date(headers.get("date", "")) or now))
    reset = _number(headers.get("x-ratelimit-reset", ""))
    return None if reset is None else max(0.0, reset - now)


@dataclass
class Spending:
    """What was spent for one table.

    Attributes:
        requests: Requests sent, retries included.
        retries: Requests sent again.
        waited_seconds: Time its requests waited; several at once are added up.
    """

    requests: int = 0
    retries: int = 0
    waited_seconds: float = 0.0


@dataclass
class RateBudget:
    """What this run may still spend: requests, and seconds of waiting.

    One instance serves every worker. ``acquire`` is called before each request and ``observe`` after it.
    A wait that OrgX asks for holds back all workers, not only the one that was told.

    Attributes:
        max_requests: Requests this run may send; None for no bound.
        max_wait: Seconds this run may spend waiting on limits and backoff, as wall-clock time.
        spent: Requests sent.
        waited: Seconds spent waiting, overlapping waits of several workers counted once.
        sleep: Waits in place of the wait that `stop` ends.
        limit, remaining, reset_at: What OrgX last said; None where it did not, or said ``unlimited``.
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
        """Take one request from the budget, after waiting as long as OrgX asked for.

        Args:
            spending: Where to note it as well.

        Raises:
            BudgetError: The requests are used up, the wait would pass ``max_wait``, or the run was interrupted.
        """
        while True:
            with self._lock:
                if self.stopped:
                    raise BudgetError("the run was interrupted")
                if self.max_requests is not None and self.spent >= self.max_requests:
                    raise BudgetError(
                        f"this run's {self.max_requests} requests are used up (--max-requests); what was read is kept"
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
        """Wake whoever waits, and let no further request out: somebody wants this run to end."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Return whether no further request goes out."""
        return self._stopped.is_set()

    def note_retry(self, spending: Spending | None = None) -> None:
        """Count a request that is sent again."""
        with self._lock:
            self.retries += 1
            if spending is not None:
                spending.retries += 1

    def hold(self, seconds: float, why: str, spending: Spending | None = None) -> None:
        """Hold back every request for ``seconds`` from now, and wait as well.

        Raises:
            BudgetError: The wait would pass ``max_wait``.
        """
        with self._lock:
            until = self.clock() + seconds
            if until > self._hold_until:
                self._hold_until, self._hold_why = until, why
        self._wait_until(until, why, spending)

    def pause(self, seconds: float, why: str, spending: Spending | None = None) -> None:
        """Wait without holding back the others: one request's own backoff.

        Raises:
            BudgetError: The wait would pass ``max_wait``.
        """
        self._wait_until(self.clock() + seconds, why, spending)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Read ``X-RateLimit-*`` of an answer; the word ``unlimited`` is no number."""
        limit, remaining = (
            _number(headers.get("x-ratelimit-limit", "")),
            _number(headers.get("x-ratelimit-remaining", "")),
        )
        reset = _number(headers.get("x-ratelimit-reset", ""))
        if limit is None and remaining is None and reset is None:
            return
        with self._lock:
            self.limit = None if limit is None else int(limit)
            if remaining is not None:
                # Answers overtake each other: within one window the smallest number is the newest.
                known = self.remaining if reset == self.reset_at and self.remaining is not None else remaining
                self.remaining = int(min(known, remaining))
            else:
                self.remaining = None
            self.reset_at = reset

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
                    f"{why}: waiting {seconds:.0f} s more would pass --max-wait ({self.max_wait:.0f} s, "
                    f"{self.waited:.0f} s waited so far); what was read is kept"
                )
            overlap = max(0.0, min(until, self._counted_until) - start)
            self.waited += seconds - overlap
            if spending is not None:
                spending.waited_seconds += seconds
            self._counted_until = max(self._counted_until, until)
        if self.on_wait is not None and overlap < seconds:
            self.on_wait(seconds, why)
        (self.sleep or self._stopped.wait)(seconds)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and abs(value) < 1e12 else None


def _http_date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
