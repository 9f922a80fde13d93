"""All exceptions, grouped by what the caller can do about them.

::

    OrgxError                 anything this package raises or reports
    ├── ConfigError           a setting is missing or malformed               exit 3
    ├── ConnectionFailedError OrgX could not be reached (DNS, TLS, timeout)   exit 4  retryable
    ├── RedirectError         OrgX pointed to another origin                  exit 3
    ├── BudgetError           --max-requests or --max-wait was used up        exit 4
    ├── ApiError              OrgX answered with an error                     exit 1
    │   ├── AuthError         the key itself was refused                      exit 3
    │   ├── RouteClosedError  this path is closed to this key                 exit 1
    │   │   └── ScopeError    the login lacks a required scope                exit 3
    │   ├── RateLimitError    429 for longer than the run may wait            exit 4  retryable
    │   ├── ServerError       408, 5xx ... on every attempt                   exit 1  retryable
    │   ├── AnswerTooLargeError the response exceeds the size limit            exit 1
    │   └── EnvelopeError     200, but in no known format                     exit 1  retryable
    ├── DriftError            the list cannot be read to its end              exit 1
    ├── PublishError          the copy for readers cannot be made             exit 1
    ├── TableRefusedError     the warehouse rejects one table's rows          exit 1
    ├── MachineError          disk full, no permission, too many open files   exit 1
    ├── UnexpectedError       anything else: a bug in this package            exit 1
    └── DestinationError      the warehouse cannot be read or written         exit 4
        ├── DatasetTakenError another run is filling the dataset              exit 4
        ├── CommitError       DuckDB could not commit what was loaded         exit 4
        └── CheckpointError   DuckDB could not finish writing its file        exit 4
"""

from __future__ import annotations

import re

from orgx_source.texts import visible


class OrgxError(Exception):
    """Base of all errors that this package raises or reports; ``str(error)`` says what happened and what to try.

    The message is one line without control characters, whatever OrgX or a driver put into it.

    Attributes:
        exit_code: Exit code of ``orgx-sync`` when this error ends a run.
        retryable: Whether the same request may succeed a moment later.
        retry_after: Seconds to wait before a retry, as asked by OrgX; None if not given.
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
    """No response, or an incomplete one: name lookup, connection, proxy, TLS or timeout."""

    exit_code = 4
    retryable = True


class RedirectError(OrgxError):
    """OrgX redirected to another origin, which must not receive the key."""

    exit_code = 3


class BudgetError(OrgxError):
    """The run has used up its allowed requests or waiting time.

    Attributes:
        can_go_on: Whether the next run continues where the read of this table stopped; None if no read was stopped.
        needs: Minimum number of requests for a list that must be read in one run; None if unknown.
    """

    exit_code = 4
    can_go_on: bool | None = None
    needs: int | None = None
    _what: str | None = None

    def add(self, prospect: str) -> BudgetError:
        """Append what the next run will do to the message and return the error; a later call replaces the text."""
        self._what = self._what or str(self)
        self.args = (f"{self._what}; {prospect}",)
        return self


class ApiError(OrgxError):
    """OrgX returned an error.

    Attributes:
        status: HTTP status of the response.
        path: Path of the request, without host and query.
        code: OrgX's machine-readable code; None if the body has none.
        request_id: OrgX's id for the request, for its support.
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
    """The key was refused on a route open to every key: it is wrong, revoked or malformed."""

    exit_code = 3


class AddressError(ApiError):
    """404 on a route that every OrgX has: the base URL is not OrgX's."""

    exit_code = 3


class RouteClosedError(ApiError):
    """401, 403 or 404 on one path while the key works elsewhere: another route may serve the table."""


class ScopeError(RouteClosedError):
    """The login works but lacks a required scope."""

    exit_code = 3


class RateLimitError(ApiError):
    """OrgX asks the client to wait longer than the run may."""

    exit_code = 4
    retryable = True


class ServerError(ApiError):
    """OrgX, or a proxy in front of it, failed in a way that may be temporary."""

    retryable = True


class AnswerTooLargeError(ApiError):
    """The response exceeds the size limit; repeating the request would not help."""


class EnvelopeError(ApiError):
    """The response is in no known format; it is never read as an empty table."""

    retryable = True


class DriftError(OrgxError):
    """The list changed or contradicted itself so much that it cannot be read to its end."""


class PublishError(OrgxError):
    """The data is loaded, but the copy for readers cannot be made."""


class DestinationError(OrgxError):
    """The warehouse cannot be opened, read or written."""

    exit_code = 4


class DatasetTakenError(DestinationError):
    """Another run is filling the dataset."""


class CommitError(DestinationError):
    """DuckDB could not commit; close every connection to the file before writing again."""


class CheckpointError(DestinationError):
    """DuckDB could not move committed data from its log into its file; the load does not count."""


class TableRefusedError(OrgxError):
    """The warehouse rejects the rows of one table, and would reject them again.

    Attributes:
        table: The table's name in the warehouse.
    """

    def __init__(self, table: str, message: str) -> None:
        super().__init__(message)
        self.table = table


class MachineError(OrgxError):
    """The machine refuses a file operation: disk full, permission denied, too many open files."""


class UnexpectedError(OrgxError):
    """An unforeseen failure; the message says where it happened, for a bug report."""


def worst_exit_code(*codes: int) -> int:
    """Return the exit code for parts with these codes: failures that a later run cannot fix come first."""
    return next((code for code in (3, 1, 4) if code in codes), 0)
