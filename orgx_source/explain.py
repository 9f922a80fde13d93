"""What an error of somebody else's means to whoever runs this: one sentence, and the exit code that goes with it.

Classes are recognised by name, because each driver has its own and none may be imported here.
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
"""What a database's code says of later runs: they may fare better, somebody must mend something, or neither."""
# SQLSTATE, by its first letters; the longest that fits counts. All others refuse what was asked for.
_SQLSTATES: dict[str, Lasting] = {
    "08": "passes",  # connection
    "40": "passes",  # deadlock, serialization
    "53": "passes",  # disk full, out of memory, too many connections
    "57": "passes",  # shut down, not yet started, cancelled by a time limit
    "55P03": "passes",  # lock_timeout
    "55006": "passes",  # object in use
    "25P0": "passes",  # a transaction that was idle for too long
    "58": "passes",  # the server's machine
    "28": "settings",  # user, password
    "3D": "settings",  # no such database
    "3F": "settings",  # no such schema
    "42501": "settings",  # a right is missing
    "25006": "settings",  # read only
    "57P04": "settings",  # the database was dropped
}
# What drivers say where they have neither a code nor a class of their own for it. PostgreSQL's driver has no code when
# no connection came about, and names the address first; DuckDB says IOException of most things, and names the file.
_SETTLED = re.compile(
    r"permission denied|insufficient privilege|access denied|authentication failed|invalid dsn"
    r'|(database|role|user) "[^"]*" does not exist|unsupported startup parameter'
    r"|cannot open file .*(no such file|is a directory|not a directory)|could not read from file .*is a directory",
    re.IGNORECASE | re.DOTALL,
)
_NO_DATABASE = re.compile(
    r"not a valid duckdb|could not read enough bytes|corrupt database file|database file with version number"
    r"|encrypted database|sqlite_scanner",
    re.IGNORECASE,
)
_WRAPPERS = frozenset({"PipelineStepFailed", "DestinationException"})
_OF_A_DESTINATION = CONNECTION_TROUBLE | {"DestinationException", "DatabaseError"}
_SECRETS = (
    # An address: up to its last @, because what is not encoded may hold more of them.
    (re.compile(r"""(://[^:/@\s]*:)[^\s"']*@"""), r"\1***@"),
    # What a driver takes for the host when a password holds an @.
    (re.compile(r"""(host name ["'])[^"']*@"""), r"\1***@"),
    (
        re.compile(
            r"""(?i)\b((?:\w+_)?(?:password|passwd|pwd|token|secret|api_key)["']?\s*[=:]\s*)"""
            r"""('[^']*'|"[^"]*"|[^\s&;,)}]+)"""
        ),
        r"\1***",
    ),
    # Also as JSON or an address spells it.
    (
        re.compile(
            r"(?:o|%6f|\\{1,8}u006f)(?:x|%78|\\{1,8}u0078)(?:k|%6b|\\{1,8}u006b)(?:_|%5f|\\{1,8}u005f)"
            r"(?:[\w\-]|%[2-7][0-9a-f]|\\{1,8}u00[2-7][0-9a-f])+",
            re.IGNORECASE,
        ),
        "oxk_***",
    ),
    (re.compile(r"(?i)\b(bearer )\S+"), r"\1***"),
    # The code of a redirect: whoever has it first has the login.
    (re.compile(r"([?&]code=)[^&\s\"']+"), r"\1***"),
)


def explain(error: Exception) -> OrgxError:
    """Return an error as one of ours; the stack of what nobody foresaw goes to the log."""
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
    """Return as one of ours what the destination or the machine refuses; None for anything else.

    What dlt wraps counts as well: an error of a step is what its destination said.
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
    """Return the links that say what happened: where one has a code, not those that only quote it."""
    for place, link in enumerate(chain):
        if sqlstate(link):
            return [*(outer for outer in chain[:place] if not _kinds(outer) & _WRAPPERS), link]
    return chain


def _of_settings(error: BaseException) -> ConfigError | None:
    kinds = _kinds(error)
    if "ConfigProviderException" in kinds:
        return ConfigError(f"dlt's settings cannot be read. {first_words(error)}")
    if "ConfigurationException" in kinds:
        # dlt goes on to list every place in which it looked, or what it would have liked.
        reason = re.split(r"\.? (?:for field|Details:) ", first_words(error))[0]
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
            f"The DuckDB file cannot be read: {first_words(error)}. Restore it from a backup, or move it away, and the "
            "next run loads everything again. A newer DuckDB may have written it, or it may be encrypted"
        )
    code = sqlstate(error)
    if code == "42501":
        return missing_right(error)
    wording = code is None and kinds & _OF_A_DESTINATION and _SETTLED.search(str(error))
    if "InvalidFilesystemLayout" in kinds or wording or _lasting(code) == "settings":
        return ConfigError(describe_trouble(error))
    return None


def missing_right(error: BaseException, role: str = "ROLE", database: str = "DATABASE") -> ConfigError:
    """Return what to grant when PostgreSQL refuses for lack of a right.

    Args:
        error: What it said, which names the object.
        role: Who lacks the right.
        database: Where.
    """
    return ConfigError(
        f"{describe_trouble(error)}. The role {role} needs: GRANT CREATE ON DATABASE {database} TO {role}, for "
        "datasets that are not there yet; GRANT USAGE, CREATE ON SCHEMA for those that are; and to own their tables "
        f"and views, or GRANT OWNER TO {role}"
    )


def _of_destination(error: BaseException) -> DestinationError | None:
    return DestinationError(describe_trouble(error)) if is_connection_trouble(error) else None


def sqlstate(error: BaseException) -> str | None:
    """Return the code that the SQL standard gives to what a database refused; None where the driver tells none."""
    found = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    return found if isinstance(found, str) and len(found) == 5 else None


def _lasting(code: str | None) -> Lasting | None:
    """Return what a code says of later runs; None without a code."""
    if code is None:
        return None
    fitting = [start for start in _SQLSTATES if code.startswith(start)]
    return _SQLSTATES[max(fitting, key=len)] if fitting else "refusal"


def is_refusal(error: BaseException) -> bool:
    """Return whether a database has a code for why it refuses, and it is one that no later run fares better with."""
    return _lasting(sqlstate(error)) == "refusal"


def _of_machine(error: BaseException) -> MachineError | None:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in REFUSALS):
        return MachineError(f"This machine denied a file operation: {first_words(error)}")
    return None


def is_mendable(failure: OrgxError) -> bool:
    """Return whether a load that failed like this can succeed as it is, once somebody has mended the cause."""
    return failure.exit_code in (3, 4) or isinstance(failure, MachineError)


def refused_table(error: BaseException) -> str | None:
    """Return the table whose part of a load failed, by its name in the warehouse; None when that was no table's."""
    for link in _chain(error):
        if isinstance(link, TableRefusedError):
            return link.table
        if isinstance(job := getattr(link, "job_id", None), str):
            return job.split(".")[0]
    return None


def root_cause(error: BaseException) -> BaseException:
    """Return the first of our own errors in a chain, else the innermost error."""
    chain = list(_chain(error))
    return next((link for link in chain if isinstance(link, OrgxError)), chain[-1])


def _chain(error: BaseException) -> Iterator[BaseException]:
    met: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in met:
        met.append(following)
        yield following
        # The names under which dlt keeps what it wraps.
        names = ("exception", "client_exception", "inner_exc", "dbapi_exception")
        wrapped = (getattr(following, name, None) for name in names)
        following = next(filter(None, wrapped), None) or following.__cause__ or following.__context__


def is_connection_trouble(error: BaseException) -> bool:
    """Return whether the destination could not be reached, in whatever class its driver says so."""
    if code := sqlstate(error):
        # PostgreSQL's driver has one class for a server that is gone and for an index entry that is too long.
        return _lasting(code) == "passes"
    return bool(_kinds(error) & CONNECTION_TROUBLE) or (isinstance(error, OSError) and error.errno in UNREACHABLE)


def describe_trouble(error: BaseException) -> str:
    """Return one sentence for a destination that cannot be used; a DuckDB lock names who holds it."""
    if holder := name_lock_holder(error):
        return (
            f"The DuckDB file is open in another process: {holder}. Close it there and run again. "
            "orgx-sync run waits up to --lock-timeout."
        )
    return f"The destination cannot be used: {said(error)}"


def said(error: BaseException) -> str:
    """Return what a driver said, in one line."""
    # dlt puts four lines of its own before what the driver said.
    return first_words(getattr(error, "inner_exc", error))


def name_lock_holder(error: BaseException) -> str | None:
    """Return who has a DuckDB file open when that is what an error says, else None."""
    text = " ".join(str(error).split())
    if "Could not set lock" not in text and "Conflicting lock" not in text:
        return None
    return text[max(0, text.find("Conflicting lock")) :].split(". See")[0]


def first_words(error: BaseException) -> str:
    """Return what an error says, in one line that is not too long, and without a secret."""
    return without_secrets(" ".join(str(error).split()))[:MAX_WORDS] or "no message"


def without_secrets(text: str) -> str:
    """Return a text without the passwords and keys in it: drivers quote what they do not understand."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
