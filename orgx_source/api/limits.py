"""When to wait, and when to stop: backoff, ``Retry-After``, and one budget that all workers share.

Decides only. The clock and the sleep are passed in, so nothing here touches a socket or a real second.
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
# Numbers below are seconds from now, those above a time in unix seconds (1973) or milliseconds.
_EPOCH, _MILLISECONDS = 1e8, 1e11
_NUMBER = re.compile(r"\s*(-?\d{1,300}(?:\.\d{1,300})?)\s*(?:[,;]|$)", re.ASCII)
# No wait is longer: 30 years.
LONGEST = 1e9
# Two ends of one window, of which the clocks tell whole seconds.
SAME_WINDOW_SECONDS = 1.5
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


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says about the rate limit, with times on this machine's clock.

    Attributes:
        limit, remaining: Requests of a window, and those left in it; None where it does not say, or ``unlimited``.
        reset_at: Unix seconds when the window ends; None where it does not say.
        wait: Seconds to wait before the next request; None where it does not say.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_at: float | None = None
    wait: float | None = None


def read_limits(headers: Mapping[str, str], now: float) -> Told:
    """Return what the headers of an answer say about the rate limit.

    Reads ``Retry-After`` in seconds or as an HTTP date, and ``X-RateLimit-*``, else ``RateLimit-*``. A reset may be a
    time (unix seconds or milliseconds, or a date) or seconds from now. Times are compared with the answer's own
    ``Date`` when there is one: two clocks need not agree. ``Retry-After`` wins over the reset.

    Args:
        headers: Headers of the answer, looked up without regard to case.
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
    """Return how many seconds OrgX asks to wait, or None when it does not say; see `read_limits`."""
    return read_limits(headers, now).wait


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
        """Read what an answer says about the rate limit; see `read_limits`."""
        told = read_limits(headers, self.clock())
        if told.limit is None and told.remaining is None and told.reset_at is None:
            return
        with self._lock:
            self.limit = told.limit
            known, self.remaining = self.remaining, told.remaining
            if known is not None and told.remaining is not None and _is_same_window(self.reset_at, told.reset_at):
                # Answers overtake each other: within one window the smallest number is the newest.
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


def _is_same_window(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME_WINDOW_SECONDS


def _number(text: str) -> float | None:
    """Return the number that a header begins with; what follows a comma or semicolon describes it."""
    found = _NUMBER.match(text)
    return float(found[1]) if found else None


def _seconds_until(text: str, there: float, *, epoch: float) -> float | None:
    """Return the seconds from now to what a header names: a time, a date or seconds.

    Args:
        text: The header.
        there: Unix seconds, by the clock of whoever sent it.
        epoch: From which number on it is a time.
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
    """Return a wait as text that is the same for two tables which hear of one limit within a second."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
