"""What can go wrong, grouped by what the caller can do about it.

::

    OrgxError                 anything this package raises or reports
    ├── ConfigError           a setting is missing or malformed            exit 3
    ├── ConnectionFailedError OrgX was not reached (DNS, TLS, timeout)     exit 4  retryable
    ├── RedirectError         OrgX pointed to another origin               exit 3
    ├── BudgetError           --max-requests or --max-wait was used up     exit 4
    ├── ApiError              OrgX answered with an error                  exit 1
    │   ├── AuthError         the key itself was refused                   exit 3
    │   ├── RouteClosedError  this path is closed to this key              exit 1
    │   │   └── ScopeError    the login was not granted what it takes  exit 3
    │   ├── RateLimitError    429 beyond the patience granted              exit 4  retryable
    │   ├── ServerError       408, 5xx ... after every attempt             exit 1  retryable
    │   ├── AnswerTooLargeError  more bytes than an answer may have        exit 1
    │   └── EnvelopeError     200, but not in any shape we can read        exit 1  retryable
    ├── DriftError            the list cannot be read to its end           exit 1
    ├── PublishError          the copy for readers cannot be made          exit 1
    ├── TableRefusedError     the warehouse refuses what one table brings  exit 1
    ├── MachineError          no space, no right, too many open files      exit 1
    ├── UnexpectedError       anything else: a defect of this package      exit 1
    └── DestinationError      the warehouse cannot be read or written      exit 4
        ├── DatasetTakenError another run is filling the dataset           exit 4
        ├── CommitError       DuckDB could not commit what was loaded      exit 4
        └── CheckpointError   DuckDB could not finish writing its file     exit 4
"""

from __future__ import annotations

import re

from orgx_source.texts import visible


class OrgxError(Exception):
    """Base of all errors that this package raises or reports; ``str(error)`` is a sentence with what to try.

    It is one line and holds no control characters, whatever OrgX or a driver put into it.

    Attributes:
        exit_code: What ``orgx-sync`` leaves with when this error ends a run.
        retryable: Whether the same request may succeed a moment later.
        retry_after: Seconds that OrgX asks to wait before it; None when it does not.
    """

    exit_code: int = 1
    retryable: bool = False
    retry_after: float | None = None

    def __init__(self, message: object = "") -> None:
        super().__init__(visible(re.sub(r"\s*[\r\n]\s*", " ", str(message))))  # guard: visible-errors


class ConfigError(OrgxError):
    """A setting is missing, malformed or contradictory."""

    exit_code = 3


class ConnectionFailedError(OrgxError):
    """No answer came, or not all of it: name lookup, connection, proxy, TLS or timeout."""

    exit_code = 4
    retryable = True


class RedirectError(OrgxError):
    """OrgX redirected to another origin, where the key must not travel."""

    exit_code = 3


class BudgetError(OrgxError):
    """The requests or the waiting time granted to this run are used up.

    Attributes:
        can_go_on: Whether the next run goes on where the read of this table ended; None where no read was ended.
        needs: Requests that one read of the list takes at least, when it has to come from one run; None when unknown.
    """

    exit_code = 4
    can_go_on: bool | None = None
    needs: int | None = None
    _what: str | None = None

    def add(self, prospect: str) -> BudgetError:
        """Return this error with what it means for the next run added to its sentence; said again, the last counts."""
        self._what = self._what or str(self)
        self.args = (f"{self._what}; {prospect}",)
        return self


class ApiError(OrgxError):
    """OrgX answered, and the answer is an error.

    Attributes:
        status: HTTP status of the answer.
        path: Path of the request, without host and query.
        code: OrgX's machine-readable code when the body had one.
        request_id: OrgX's id for the request, to quote to its support.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        path: str,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message + (f" (OrgX request {request_id})" if request_id else ""))
        self.status = status
        self.path = path
        self.code = code
        self.request_id = request_id


class AuthError(ApiError):
    """The key was refused where every key is accepted: it is wrong, revoked or malformed."""

    exit_code = 3


class RouteClosedError(ApiError):
    """401, 403 or 404 on one path while the key works elsewhere: another route may serve the table."""


class ScopeError(RouteClosedError):
    """The login works, but was not granted the scope that this takes."""

    exit_code = 3


class RateLimitError(ApiError):
    """OrgX asks to slow down, for longer than the run may wait."""

    exit_code = 4
    retryable = True


class ServerError(ApiError):
    """OrgX, or a proxy in front of it, failed in a way that may pass."""

    retryable = True


class AnswerTooLargeError(ApiError):
    """The answer has more bytes than it may have; the same question would bring them again."""


class EnvelopeError(ApiError):
    """The answer is not in any shape that OrgX is known to use; never read as an empty table."""

    retryable = True


class DriftError(OrgxError):
    """The list moved or contradicted itself so much that its end cannot be reached."""


class PublishError(OrgxError):
    """The data are loaded, but the copy of them that others read cannot be made."""


class DestinationError(OrgxError):
    """The warehouse cannot be opened, read or written."""

    exit_code = 4


class DatasetTakenError(DestinationError):
    """Another run is filling the dataset."""


class CommitError(DestinationError):
    """DuckDB could not commit; nothing more may be written before every connection to the file is closed."""


class CheckpointError(DestinationError):
    """DuckDB could not move what was committed from its log into its file; the load does not count."""


class TableRefusedError(OrgxError):
    """The warehouse refuses what a load brings for one table, and would refuse it again.

    Attributes:
        table: Its name in the warehouse.
    """

    def __init__(self, table: str, message: str) -> None:
        super().__init__(message)
        self.table = table


class MachineError(OrgxError):
    """The machine refuses a file: its disk is full, a right is missing, too many files are open."""


class UnexpectedError(OrgxError):
    """Something failed that nobody foresaw; the message says where, so that it can be reported."""


def worst_exit_code(*codes: int) -> int:
    """Return the code that a command leaves with when its parts had these: what no later run mends comes first."""
    return next((code for code in (3, 1, 4) if code in codes), 0)
