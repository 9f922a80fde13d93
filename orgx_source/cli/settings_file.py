"""Reads the command's options from ``.dlt/config.toml``; writes the files of ``orgx-sync init``.

Uses the standard library to read, because dlt takes most of a second to import.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orgx_source.errors import ConfigError, MachineError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

SECRETS = Path(".dlt/secrets.toml")
CONFIG = Path(".dlt/config.toml")
SECTION = "orgx_sync"


def read_options(known: Mapping[str, str]) -> dict[str, Any]:
    """Return the options in ``[orgx_sync]`` of ``.dlt/config.toml``, parameter name to value.

    Args:
        known: Option, such as ``max_wait``, to the name of the parameter that it sets.

    Raises:
        ConfigError: An option is unknown. An unreadable file is left to dlt, which reports line and column.
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
    return {known[name]: value for name, value in section.items()}


def write_settings(*, api_key: str, credentials: tuple[str, str] | None, options: Mapping[str, str]) -> None:
    """Write ``.dlt/secrets.toml``, readable by its owner only, and ``.dlt/config.toml``; keep their other content.

    Args:
        api_key: The ``oxk_`` key.
        credentials: Name of the destination and its address with the password; None for a DuckDB file.
        options: The values for ``[orgx_sync]``.

    Raises:
        ConfigError: An existing file is not valid TOML.
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
        _write(SECRETS, secrets.as_string(), 0o600)
        _write(CONFIG, config.as_string(), 0o644)
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

    for name in names:
        if name not in document:
            document[name] = tomlkit.table()
        document = document[name]
    return document


def _write(path: Path, text: str, mode: int) -> None:
    """Replace a file atomically; others can never read it."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.chmod(mode)
    unfinished.replace(path)
