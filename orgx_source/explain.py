"""What an error of somebody else's means to whoever runs this: one sentence, and the exit code that goes with it.

Classes are told by name, because each driver has its own and none may be imported here.
"""

from __future__ import annotations

import errno
import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from orgx_source.errors import ConfigError, DestinationError, MachineError, OrgxError, UnexpectedError

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent
MAX_WORDS = 300
CONNECTION_TROUBLE = frozenset(
    {"IOException", "ConnectionException", "OperationalError", "DestinationConnectionError", "ConnectionError"}
    | {"TimeoutError", "gaierror"}
)
UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
REFUSALS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE}
    | {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EBUSY, errno.EIO, errno.ESTALE, errno.ENOMEM}
)
# What drivers say when no later run fares better. PostgreSQL names the address first, DuckDB the file.
_SETTLED = re.compile(
    r"permission denied|insufficient privilege|access denied|authentication failed|invalid dsn"
    r'|(database|role|user) "[^"]*" does not exist'
    r"|not a valid duckdb|cannot open file .*(no such file|is a directory|not a directory)",
    re.IGNORECASE | re.DOTALL,
)
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
    (re.compile(r"\boxk_\w+"), "oxk_***"),
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
    logger.info("what is told in one sentence:", exc_info=error)
    if failure := foreseen(error):
        return failure
    if step is not None:
        return OrgxError(f"dlt could not {step} the data: {type(cause).__name__}: {first_words(cause)}")
    if "DestinationException" in _kinds(error):
        return OrgxError(f"The destination refuses: {_said(error)}")
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)]
    where = f" ({Path(own[-1].filename).relative_to(PACKAGE.parent).as_posix()}, line {own[-1].lineno})" if own else ""
    return UnexpectedError(
        f"Unexpected {type(error).__name__}: {first_words(error)}{where}. "
        "This is a defect; please report it, with the stack that --verbose shows."
    )


def foreseen(error: BaseException) -> OrgxError | None:
    """Return as one of ours what the destination or the machine refuses; None for anything else.

    What dlt wraps counts as well: an error of a step is what its destination said.
    """
    chain = list(_chain(error)) if _kinds(error) & {"PipelineStepFailed", "DestinationException"} else [error]
    for of_kind in (_of_settings, _of_destination, _of_machine):
        for link in chain:
            if failure := of_kind(link):
                return failure
    return None


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
        return ConfigError(f"The destination answers no SQL. {first_words(error)}")
    if "InvalidFilesystemLayout" in kinds or (kinds & _OF_A_DESTINATION and _SETTLED.search(str(error))):
        return ConfigError(describe_trouble(error))
    return None


def _of_destination(error: BaseException) -> DestinationError | None:
    return DestinationError(describe_trouble(error)) if is_connection_trouble(error) else None


def _of_machine(error: BaseException) -> MachineError | None:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in REFUSALS):
        return MachineError(f"This machine refuses: {first_words(error)}")
    return None


def is_mendable(failure: OrgxError) -> bool:
    """Return whether a load that failed like this can succeed as it is, once somebody has mended the cause."""
    return failure.exit_code in (3, 4) or isinstance(failure, MachineError)


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
        wrapped = (getattr(following, name, None) for name in ("exception", "inner_exc", "dbapi_exception"))
        following = next(filter(None, wrapped), None) or following.__cause__ or following.__context__


def is_connection_trouble(error: BaseException) -> bool:
    """Return whether the destination could not be reached, in whatever class its driver says so."""
    return bool(_kinds(error) & CONNECTION_TROUBLE) or (isinstance(error, OSError) and error.errno in UNREACHABLE)


def describe_trouble(error: BaseException) -> str:
    """Return one sentence for a destination that cannot be used; a DuckDB lock names who holds it."""
    if holder := name_lock_holder(error):
        return (
            f"The DuckDB file is open in another process: {holder}. Close it there and run again; "
            "orgx-sync run waits for it as long as --lock-timeout says."
        )
    return f"The destination cannot be used: {_said(error)}"


def _said(error: BaseException) -> str:
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
