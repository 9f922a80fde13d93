"""Reads the command's options from ``.dlt/config.toml``; writes the files of ``orgx-sync init``.

Uses the standard library to read, because dlt takes most of a second to import.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orgx_source.errors import ConfigError, MachineError
from orgx_source.files import whole_file

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

SECRETS = Path(".dlt/secrets.toml")
CONFIG = Path(".dlt/config.toml")
SECTION = "orgx_sync"


def read_options(known: Mapping[str, str], repeatable: Collection[str] = ()) -> dict[str, str | list[str]]:
    """Return the options in ``[orgx_sync]`` of ``.dlt/config.toml``, parameter name to value.

    The values are text, as in the environment, so that click checks both alike.

    Args:
        known: Option, such as ``max_wait``, to the name of the parameter that it sets.
        repeatable: Options whose value may be a list.

    Raises:
        ConfigError: An option is unknown, or is not a single value. An unreadable file is left to dlt, which reports
            line and column.
    """
    if not CONFIG.exists():
        return {}
    import tomllib

    try:
        section = tomllib.loads(CONFIG.read_text("utf-8-sig")).get(SECTION, {})
    except (OSError, ValueError):
        return {}
    unknown = sorted(set(section) - set(known)) if isinstance(section, dict) else [SECTION]
    if unknown:
        raise ConfigError(
            f"{CONFIG} has unknown options in [{SECTION}]: {', '.join(unknown)}. "
            f"Known options: {', '.join(sorted(known))}."
        )
    return {
        known[name]: _texts(name, value) if name in repeatable else _text(name, value)
        for name, value in section.items()
    }


def _texts(name: str, value: Any) -> list[str]:
    return [_text(name, each) for each in (value if isinstance(value, list) else [value])]


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "a table"
        raise ConfigError(f"{CONFIG}: {name} in [{SECTION}] must be a single value, not {kind}.")
    return str(value)


def write_settings(*, api_key: str, credentials: tuple[str, str] | None, options: Mapping[str, str]) -> None:
    """Write ``.dlt/secrets.toml``, readable by its owner only, and ``.dlt/config.toml``; keep their other content.

    Args:
        api_key: The ``oxk_`` key.
        credentials: Name of the destination and its address with the password; None for a DuckDB file.
        options: The values for ``[orgx_sync]``.

    Raises:
        ConfigError: An existing file is not valid TOML, or has a value where a section belongs.
        MachineError: A file cannot be written.
    """
    secrets, config = _read(SECRETS), _read(CONFIG)
    _section(secrets, "sources", "orgx")["api_key"] = api_key
    if credentials is not None:
        name, address = credentials
        _section(secrets, "destination", name)["credentials"] = address
    for name, value in options.items():
        _section(config, SECTION)[name] = value
    _section(config, "runtime").setdefault("dlthub_telemetry", False)
    try:
        SECRETS.parent.mkdir(mode=0o700, exist_ok=True)
        _write(SECRETS, secrets.as_string(), private=True)
        _write(CONFIG, config.as_string())
    except OSError as error:
        raise MachineError(f"{error.filename} could not be written: {error.strerror}.") from None


def _read(path: Path) -> TOMLDocument:
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        return tomlkit.parse(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return tomlkit.document()
    except OSError as error:
        raise MachineError(f"{path} could not be read: {error.strerror}.") from None
    except ParseError as error:
        # Never show the line itself: it may hold the key.
        raise ConfigError(f"{path} is not valid TOML: line {error.line}, column {error.col}.") from None


def _section(document: Any, *names: str) -> Any:
    import tomlkit

    for place, name in enumerate(names, 1):
        if name not in document:
            document[name] = tomlkit.table()
        document = document[name]
        if not isinstance(document, MutableMapping):
            raise ConfigError(
                f"{'.'.join(names[:place])} in .dlt is a single value, not a section; remove or rename it."
            )
    return document


def _write(path: Path, text: str, *, private: bool = False) -> None:
    """Replace a file, or the target of a link, atomically; nobody else can ever read a private one."""
    if private and path.exists():
        # The new file gets the permissions of the old one.
        path.chmod(0o600)
    with whole_file(path) as unfinished:
        unfinished.unlink(missing_ok=True)
        mode = 0o600 if private else 0o666
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
