"""Turns errors of dlt, drivers and the operating system into one of ours: a message and an exit code.

Classes are recognised by name: each driver has its own, and none may be imported here.
"""

from __future__ import annotations

import errno
import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from orgx_source.errors import (
    ConfigError,
    DestinationError,
    MachineError,
    OrgxError,
    TableRefusedError,
    UnexpectedError,
)

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent
MAX_WORDS = 300
CONNECTION_TROUBLE = frozenset(
    {"IOException", "ConnectionException", "OperationalError", "DestinationConnectionError", "ConnectionError"}
    | {"TimeoutError", "gaierror", "InterfaceError"}
)
UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
REFUSALS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE}
    | {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EBUSY, errno.EIO, errno.ESTALE, errno.ENOMEM}
)
Lasting = Literal["passes", "settings", "refusal"]
"""What a SQLSTATE means for later runs: they may succeed, someone must fix the settings, or neither."""
# SQLSTATE prefixes; the longest match wins. All other codes are refusals.
_SQLSTATES: dict[str, Lasting] = {
    "08": "passes",  # connection
    "40": "passes",  # deadlock, serialization
    "53": "passes",  # disk full, out of memory, too many connections
    "57": "passes",  # shut down, still starting, cancelled by a timeout
    "55P03": "passes",  # lock_timeout
    "55006": "passes",  # object in use
    "25P0": "passes",  # idle transaction timeout
    "58": "passes",  # the server's machine
    "28": "settings",  # user, password
    "3D": "settings",  # no such database
    "3F": "settings",  # no such schema
    "42501": "settings",  # permission denied
    "25006": "settings",  # read only
    "57P04": "settings",  # the database was dropped
}
_CANCELLED = "57014"
# Messages of drivers that set neither a code nor a specific class. PostgreSQL's driver has no code when no
# connection was made and puts the address first; DuckDB uses IOException for most errors and names the file.
_SETTLED = re.compile(
    r"permission denied|insufficient privilege|access denied|authentication failed|invalid dsn"
    r'|(database|role|user) "[^"]*" does not exist|unsupported startup parameter'
    # The server's rules for a role, an address or encryption.
    r"|pg_hba\.conf (entry|rejects)|not permitted to log in|not currently accepting connections|password has expired"
    r"|no password supplied|no such (user|database)|tenant or user not found|endpoint id is not specified"
    r"|ssl connection is required|does not support ssl|valid client certificate|channel binding required"
    r"|authentication method requirement|certificate verify failed|server certificate for .* does not match"
    r"|(certificate|private key) file .* (not exist|access)|could not (load|read) (root )?certificate"
    # The address itself.
    r'|invalid (integer value|port number|\w+ value|value for parameter|uri|percent-encoded)|definition of service "'
    r"|unrecognized configuration parameter|requires a value|invalid response to ssl negotiation"
    r"|cannot open file .*(no such file|is a directory|not a directory)|could not read from file .*is a directory",
    re.IGNORECASE | re.DOTALL,
)
_NO_DATABASE = re.compile(
    r"not a valid duckdb|could not read enough bytes|corrupt database file|database file with version number"
    r"|encrypted database|sqlite_scanner",
    re.IGNORECASE,
)
# A log that DuckDB truncates or ignores has no error.
_BAD_LOG = re.compile(r"corrupt wal|wal of version|wal checkpoint iteration", re.IGNORECASE)
# What the owner of a table can do about a rejected load, by prefix of the SQLSTATE; DuckDB's classes map to these.
_MENDS = {
    "23": "drop the constraint or the unique index, or change it so that it accepts what OrgX sends",
    "44": "drop the constraint or the unique index, or change it so that it accepts what OrgX sends",
    "P0": "change or drop the trigger",
    "54": "drop the index or the columns that are too large",
    "22": "restore the type that the column was loaded with",
    "42": "restore the table, its columns and their types as loaded, or drop it: the next run then reads it in full",
}
_CLASSES = {"ConstraintException": "23", "ConversionException": "22", "BinderException": "42", "CatalogException": "42"}
# dlt's sentence about credentials of several fields, else about one field.
_MISSING_FIELDS = re.compile(
    r".*missing (?:field\(s\)|\d+ field\(s\) in configuration `\w+`): ([`\w, ]+)", re.IGNORECASE
)
_WRAPPERS = frozenset({"PipelineStepFailed", "DestinationException"})
_OF_A_DESTINATION = CONNECTION_TROUBLE | {"DestinationException", "DatabaseError"}
_SECRETS = (
    # A URL: up to its last @, because an unencoded password may contain @.
    (re.compile(r"""(://[^:/@\s]*:)[^\s"']*@"""), r"\1***@"),
    # What a driver takes for the host when a password contains an @.
    (re.compile(r"""(host name ["'])[^"']*@"""), r"\1***@"),
    (
        re.compile(
            r"""(?i)\b((?:\w+_)?(?:password|passwd|pwd|token|secret|api_key)["']?\s*[=:]\s*)"""
            r"""('[^']*'|"[^"]*"|[^\s&;,)}]+)"""
        ),
        r"\1***",
    ),
    # Also as escaped in JSON or a URL.
    (
        re.compile(
            r"(?:o|%6f|\\{1,8}u006f)(?:x|%78|\\{1,8}u0078)(?:k|%6b|\\{1,8}u006b)(?:_|%5f|\\{1,8}u005f)"
            r"(?:[\w\-]|%[2-7][0-9a-f]|\\{1,8}u00[2-7][0-9a-f])+",
            re.IGNORECASE,
        ),
        "oxk_***",
    ),
    (re.compile(r"(?i)\b(bearer )\S+"), r"\1***"),
    # The authorization code of a redirect: the first to use it gets the login.
    (re.compile(r"([?&]code=)[^&\s\"']+"), r"\1***"),
)


def explain(error: Exception) -> OrgxError:
    """Return an error as an `OrgxError`; the traceback goes to the log."""
    if isinstance(error, OrgxError):
        return error
    step = getattr(error, "step", None) if "PipelineStepFailed" in _kinds(error) else None
    cause = error if step is None else root_cause(error)
    if isinstance(cause, OrgxError):
        return cause
    logger.info("the error behind the message:", exc_info=error)
    if failure := foreseen(error):
        return failure
    if step is not None:
        return OrgxError(f"dlt could not {step} the data: {type(cause).__name__}: {first_words(cause)}")
    if "DestinationException" in _kinds(error):
        return OrgxError(f"The destination rejected this: {said(error)}")
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)]
    where = f" ({Path(own[-1].filename).relative_to(PACKAGE.parent).as_posix()}, line {own[-1].lineno})" if own else ""
    return UnexpectedError(
        f"Unexpected {type(error).__name__}: {first_words(error)}{where}. "
        "This is a bug; please report it with the traceback that --verbose shows."
    )


def foreseen(error: BaseException) -> OrgxError | None:
    """Return a refusal by the destination or the machine as an `OrgxError`; None for anything else.

    Looks through dlt's wrappers to the error of the destination.
    """
    chain = _telling(list(_chain(error))) if _kinds(error) & _WRAPPERS else [error]
    if own := next((link for link in chain if isinstance(link, OrgxError)), None):
        return own
    for of_kind in (_of_settings, _of_destination, _of_machine):
        for link in chain:
            if failure := of_kind(link):
                return failure
    return None


def _telling(chain: list[BaseException]) -> list[BaseException]:
    """Return the informative links: if one has a SQLSTATE, drop the wrappers that only quote it."""
    for place, link in enumerate(chain):
        if sqlstate(link):
            return [*(outer for outer in chain[:place] if not _kinds(outer) & _WRAPPERS), link]
    return chain


def _of_settings(error: BaseException) -> ConfigError | None:
    kinds = _kinds(error)
    if "ConfigProviderException" in kinds:
        return ConfigError(f"dlt's settings cannot be read. {first_words(error)}")
    if "ConfigurationException" in kinds:
        # dlt's message continues with every place it looked, or what it expected.
        reason = re.split(r"\.? (?:for field|Details:) ", first_words(error))[0]
        if missing := _MISSING_FIELDS.search(reason):
            reason = f"Missing: {missing[1].replace('`', '')}"
        return ConfigError(
            f"The destination's settings cannot be used. {reason}. dlt reads them from .dlt/secrets.toml, "
            "[destination.NAME.credentials], or from DESTINATION__NAME__CREDENTIALS"
        )
    if "MissingDependencyException" in kinds:
        return ConfigError(f"The destination's package is not installed. {first_words(error)}")
    if "SqlClientNotAvailable" in kinds:
        return ConfigError(f"The destination does not support SQL. {first_words(error)}")
    if "Error" in kinds and _NO_DATABASE.search(str(error)):
        return ConfigError(
            f"The DuckDB file cannot be read: {first_words(error).rstrip('.!')}. Restore it from a backup, or move it "
            "away: the next run loads everything again. A newer DuckDB may have written it, or it may be encrypted"
        )
    if "Error" in kinds and _BAD_LOG.search(str(error)):
        return ConfigError(
            f"The log of the DuckDB file cannot be read: {first_words(error)}. Move the file that ends with .wal away: "
            "what only the log holds is lost, and the next run loads OrgX's rows again"
        )
    code = sqlstate(error)
    if code == "42501":
        return missing_right(error)
    wording = code is None and kinds & _OF_A_DESTINATION and _SETTLED.search(str(error))
    if "InvalidFilesystemLayout" in kinds or wording or _lasting(code) == "settings":
        return ConfigError(describe_trouble(error))
    return None


def missing_right(error: BaseException, role: str = "ROLE", database: str = "DATABASE") -> ConfigError:
    """Return what to grant when PostgreSQL denies permission.

    Args:
        error: The driver's error, which names the object.
        role: The role that lacks the permission.
        database: The database.
    """
    return ConfigError(
        f"{describe_trouble(error)}. The role {role} needs: GRANT CREATE ON DATABASE {database} TO {role}, for "
        "datasets that do not exist yet; GRANT USAGE, CREATE ON SCHEMA for those that exist; and to own their tables "
        f"and views, or GRANT OWNER TO {role}"
    )


def _of_destination(error: BaseException) -> DestinationError | None:
    if not is_connection_trouble(error):
        return None
    cure = ". If nobody cancelled it, raise statement_timeout for the role" if sqlstate(error) == _CANCELLED else ""
    return DestinationError(f"{describe_trouble(error)}{cure}")


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of a database error; None if the driver gives none."""
    found = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    return found if isinstance(found, str) and len(found) == 5 else None


def _lasting(code: str | None) -> Lasting | None:
    """Return what a SQLSTATE means for later runs; None without a code."""
    if code is None:
        return None
    fitting = [start for start in _SQLSTATES if code.startswith(start)]
    return _SQLSTATES[max(fitting, key=len)] if fitting else "refusal"


def is_refusal(error: BaseException) -> bool:
    """Return whether a database error has a SQLSTATE that no later run can avoid."""
    return _lasting(sqlstate(error)) == "refusal"


def _of_machine(error: BaseException) -> MachineError | None:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in REFUSALS):
        return MachineError(f"A file operation on this machine failed: {first_words(error)}")
    return None


def is_mendable(failure: OrgxError) -> bool:
    """Return whether a load that failed like this can succeed unchanged once the cause is fixed."""
    return failure.exit_code in (3, 4) or isinstance(failure, MachineError)


def how_to_mend(error: BaseException, table: str) -> str:
    """Return what the owner of a table must do so that it accepts a load it rejected; empty if unknown.

    Args:
        error: The database's error.
        table: The table's name for the message.
    """
    for link in _chain(error):
        code = sqlstate(link) or next((_CLASSES[kind] for kind in sorted(_kinds(link) & _CLASSES.keys())), "")
        if mend := _MENDS.get(code[:2]):
            return f" The owner of {table} must {mend}."
    return ""


def refused_table(error: BaseException) -> str | None:
    """Return the warehouse name of the table whose load job failed; None if it was no table's job."""
    for link in _chain(error):
        if isinstance(link, TableRefusedError):
            return link.table
        if isinstance(job := getattr(link, "job_id", None), str):
            return job.split(".")[0]
    return None


def root_cause(error: BaseException) -> BaseException:
    """Return the first `OrgxError` in a chain, else the innermost error."""
    chain = list(_chain(error))
    return next((link for link in chain if isinstance(link, OrgxError)), chain[-1])


def _chain(error: BaseException) -> Iterator[BaseException]:
    met: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in met:
        met.append(following)
        yield following
        # Attributes in which dlt keeps a wrapped error.
        names = ("exception", "client_exception", "inner_exc", "dbapi_exception")
        wrapped = (getattr(following, name, None) for name in names)
        following = next(filter(None, wrapped), None) or following.__cause__ or following.__context__


def is_connection_trouble(error: BaseException) -> bool:
    """Return whether the destination could not be reached, whatever class its driver raises."""
    if code := sqlstate(error):
        # PostgreSQL's driver uses one class for a lost server and for an index entry that is too long.
        return _lasting(code) == "passes"
    return bool(_kinds(error) & CONNECTION_TROUBLE) or (isinstance(error, OSError) and error.errno in UNREACHABLE)


def describe_trouble(error: BaseException) -> str:
    """Return a sentence for a destination that cannot be used; for a DuckDB lock it names the holder."""
    if holder := name_lock_holder(error):
        return (
            f"The DuckDB file is open in another process: {holder}. Close it there and run again. "
            "orgx-sync run waits up to --lock-timeout."
        )
    return f"The destination cannot be used: {said(error)}"


def said(error: BaseException) -> str:
    """Return a driver's message on one line."""
    # dlt puts four lines before the driver's message.
    return first_words(getattr(error, "inner_exc", error))


def name_lock_holder(error: BaseException) -> str | None:
    """Return the process that has a DuckDB file open, if the error is about its lock; else None."""
    text = " ".join(str(error).split())
    if "Could not set lock" not in text and "Conflicting lock" not in text:
        return None
    return text[max(0, text.find("Conflicting lock")) :].split(". See")[0]


def first_words(error: BaseException) -> str:
    """Return an error's message on one line, truncated and without secrets."""
    # PostgreSQL's details quote the row.
    told = getattr(getattr(error, "dbapi_exception", error), "diag", None)
    text = getattr(told, "message_primary", None) or str(error)
    return without_secrets(" ".join(text.split()))[:MAX_WORDS] or "no message"


def without_secrets(text: str) -> str:
    """Return a text with passwords and keys masked: drivers quote what they cannot parse."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
