"""Settings: where each comes from, and its validation. Makes no requests.

Follows dlt's rules: ``SOURCES__ORGX__API_KEY`` in the environment or ``[sources.orgx]`` in ``.dlt/*.toml``; the plain
``ORGX_API_KEY`` and ``ORGX_BASE_URL`` of OrgX's own clients work too. A value passed by the caller takes precedence.
"""

from __future__ import annotations

import codecs
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from orgx_source.errors import ConfigError
from orgx_source.tables import OPTIONAL_TABLES, TABLES

DEFAULT_DATABASE = Path("orgx.duckdb")
DEFAULT_BASE_URL = "https://useorgx.com"
DEFAULT_MCP_URL = "https://mcp.useorgx.com/mcp"
# Defaults for dlt. Truncating the staging dataset after a merge halves the file and the time to close it.
DLT_SETTINGS = {"RUNTIME__DLTHUB_TELEMETRY": "false", "LOAD__TRUNCATE_STAGING_DATASET": "true"}
LEAST = {
    "workers": 1, "page_size": 1, "max_requests": 0, "max_wait": 0, "lock_timeout": 0, "sample": 0,
    "request_timeout": 0.1, "max_answer_bytes": 1024,
}  # fmt: skip
# Forced settings of dlt: a failed job fails its load, the load package stays until a run has handled it, retries are
# bounded, and timestamps keep their precision.
FORCED_SETTINGS = {
    "LOAD__RAISE_ON_FAILED_JOBS": "true",
    "LOAD__AUTO_ABORT_ON_TERMINAL_ERROR": "false",
    "LOAD__RAISE_ON_MAX_RETRIES": "5",
    "DATA_WRITER__ALLOW_TRUNCATED_TIMESTAMPS": "false",
}
# Environment variables besides dlt's providers; None for settings without one.
PLAIN_NAMES = {
    "api_key": "ORGX_API_KEY",
    "base_url": "ORGX_BASE_URL",
    "workspace_id": None,
    "mcp_url": "ORGX_MCP_URL",
    "mcp_token": "ORGX_MCP_TOKEN",
}
MEMORY_SCOPES = ("all", "artifacts", "decisions", "initiatives")
SECRETS = frozenset({"api_key", "mcp_token"})
MCP_SETTING = "SOURCES__ORGX__MCP_URL (or ORGX_MCP_URL)"
MCP_PACKAGE = "Reading OrgX over MCP needs the package mcp: pip install 'orgx-source[mcp]', or '.[mcp]' in a checkout"

Door = Literal["rest", "mcp"]
"""An interface of OrgX that serves its lists."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_KEY = re.compile(r"oxk_[A-Za-z0-9_\-]{8,}")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.\-]*[a-z0-9_])?\.?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """A saved search of OrgX's memory, sent in every run.

    Attributes:
        name: Name of the search in the warehouse.
        query: Text to search for.
        scope: all, artifacts, decisions or initiatives.
        limit: Maximum number of hits.
    """

    name: str
    query: str
    scope: str = "all"
    limit: int = 20


@dataclass(frozen=True, slots=True)
class OrgxConfig:
    """All settings of a read.

    Attributes:
        api_key: The ``oxk_`` key; never in a repr, log or error. Empty if only MCP is read.
        base_url: Scheme and host, no trailing slash.
        workspace_id: Read this workspace only; None reads whatever the key returns.
        workers: Pages requested in parallel, over all tables.
        page_size: Rows requested per page.
        max_wait: Seconds this run may wait on limits and backoff.
        max_requests: Requests this run may send; None for no limit.
        full: Read every table in full, regardless of the cursor.
        full_every: Maximum age of a table's last full read.
        overlap: How far before the cursor an incremental read starts.
        lock_timeout: Seconds to wait for a DuckDB file that another process has open.
        sample: Requests per run that sample old rows for changes without a new timestamp; 0 disables this.
        request_timeout: Maximum seconds for one response, from connecting to its last byte.
        max_answer_bytes: Maximum size of one decompressed response.
        routes: Table name to the only route to use for it.
        mcp_url: OrgX's MCP endpoint.
        mcp_token: An external access token for it, never refreshed; None to use the login.
        has_login: Whether a login to it is stored on this machine.
        memory: Saved searches of OrgX's memory.
        optional_tables: Optional tables to read if no table is named.
        marts: Whether a run creates the marts.
    """

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    workspace_id: str | None = None
    workers: int = 8
    page_size: int = 100
    max_wait: float = 900.0
    max_requests: int | None = None
    full: bool = False
    full_every: timedelta = timedelta(days=7)
    overlap: timedelta = timedelta(minutes=10)
    lock_timeout: float = 60.0
    sample: int = 3
    request_timeout: float = 120.0
    max_answer_bytes: int = 64 * 2**20
    routes: dict[str, str] = field(default_factory=dict)
    mcp_url: str = DEFAULT_MCP_URL
    mcp_token: str | None = field(default=None, repr=False)
    has_login: bool = False
    memory: tuple[SavedSearch, ...] = ()
    optional_tables: tuple[str, ...] = OPTIONAL_TABLES
    marts: bool = True

    def table_names(self, named: Sequence[str] | None = None, among: Iterable[str] = TABLES) -> list[str]:
        """Return the tables to read: the named ones, or all except the optional ones that the settings exclude.

        Args:
            named: Tables named by the caller.
            among: Tables to choose from if none is named.
        """
        left_out = set(OPTIONAL_TABLES).difference(self.optional_tables)
        return list(named) if named else [name for name in among if name not in left_out]

    @property
    def doors(self) -> frozenset[Door]:
        """Return the usable interfaces: REST with a key, MCP with a token or login and its package."""
        found: list[Door] = ["rest"] if self.api_key else []
        if (self.mcp_token or self.has_login) and has_mcp_package():
            found.append("mcp")
        return frozenset(found)


def load_config(**given: Any) -> OrgxConfig:
    """Build the settings; arguments that are not None take precedence over dlt's providers and the environment.

    Raises:
        ConfigError: No key, a malformed key, an empty workspace, a base URL that must not receive the key, or a
            number out of range.
    """
    found: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name, plain in PLAIN_NAMES.items():
        if name not in found:
            value = _from_dlt(name) or (os.environ.get(plain) if plain else None)
            if value:
                found[name] = value
    found["mcp_url"] = check_base_url(found.get("mcp_url", DEFAULT_MCP_URL), MCP_SETTING, DEFAULT_MCP_URL)
    found["has_login"] = _has_login(found["mcp_url"])
    found["api_key"] = _check_credentials(found)
    found["routes"] = {**_routes_from_dlt(), **found.get("routes", {})}
    found.setdefault("memory", _searches_from_dlt())
    if "workspace_id" in found:
        found["workspace_id"] = check_workspace_id(found["workspace_id"])
    found["base_url"] = check_base_url(found.get("base_url", DEFAULT_BASE_URL))
    for name in ("request_timeout", "max_answer_bytes"):
        if name not in found and (value := _from_dlt(name) or os.environ.get(f"ORGX_{name.upper()}")):
            found[name] = _as_number(name, value)
    if "optional_tables" not in found:
        found["optional_tables"] = read_optional_tables()
    for name, least in LEAST.items():
        # Negated, so that NaN is rejected as well.
        if found.get(name) is not None and not found[name] >= least:
            raise ConfigError(f"{name} must be at least {least}, not {found[name]}")
    return OrgxConfig(**found)


def read_optional_tables() -> tuple[str, ...]:
    """Return the optional tables to read; by default all of them.

    Raises:
        ConfigError: A name is not an optional table.
    """
    text = _from_dlt("optional_tables") or os.environ.get("ORGX_OPTIONAL_TABLES") or "all"
    # dlt returns a TOML list as text.
    names = tuple(filter(None, (name.strip(" \t\n\"'[]") for name in text.split(","))))
    if names in (("all",), ("none",), ()):
        return OPTIONAL_TABLES if names == ("all",) else ()
    if unknown := [name for name in names if name not in OPTIONAL_TABLES]:
        raise ConfigError(
            f"ORGX_OPTIONAL_TABLES (or optional_tables under [sources.orgx]) has unknown names: {', '.join(unknown)}. "
            f"Use all, none, or names from {', '.join(OPTIONAL_TABLES)}"
        )
    return tuple(name for name in OPTIONAL_TABLES if name in names)


def _from_dlt(name: str) -> str | None:
    check_settings_files()
    import dlt

    with dlt_defaults():
        provider = dlt.secrets if name in SECRETS else dlt.config
        value = provider.get(f"sources.orgx.{name}", str)
    return str(value).strip() if value else None


def load_mcp_url() -> str:
    """Return the address of OrgX's MCP endpoint from the settings.

    Raises:
        ConfigError: The address must not receive a token.
    """
    found = os.environ.get("SOURCES__ORGX__MCP_URL") or os.environ.get("ORGX_MCP_URL") or _from_dlt("mcp_url")
    return check_base_url(found or DEFAULT_MCP_URL, MCP_SETTING, DEFAULT_MCP_URL)


def _structure_from_dlt(name: str) -> Any:
    """Return a setting that is a table or list; in the environment, it is JSON."""
    import dlt

    with dlt_defaults():
        found: Any = dlt.config.get(f"sources.orgx.{name}")
    if isinstance(found, str):
        with suppress(ValueError):
            return json.loads(found)
    return found


def _searches_from_dlt() -> tuple[SavedSearch, ...]:
    """Return ``[[sources.orgx.memory]]``.

    Raises:
        ConfigError: A search is malformed, or two have the same name.
    """
    found = _structure_from_dlt("memory")
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise ConfigError("[[sources.orgx.memory]] must be saved searches, each with a name and a query.")
    searches = tuple(_check_search(dict(one), number) for number, one in enumerate(found, 1))
    names = [search.name for search in searches]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"[[sources.orgx.memory]] has more than one search named {', '.join(sorted(doubled))}.")
    return searches


def _check_search(given: dict[str, Any], number: int) -> SavedSearch:
    where = f"[[sources.orgx.memory]], number {number}"
    unknown = given.keys() - {"name", "query", "scope", "limit"}
    if unknown:
        raise ConfigError(
            f"{where} has unknown keys: {', '.join(sorted(map(str, unknown)))}. Use name, query, scope and limit."
        )
    for key in ("name", "query"):
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise ConfigError(f"{where} needs a {key}.")
    search = SavedSearch(**given)
    if search.scope not in MEMORY_SCOPES:
        raise ConfigError(f"{where}: scope must be one of {', '.join(MEMORY_SCOPES)}, not {search.scope!r}.")
    if not isinstance(search.limit, int) or isinstance(search.limit, bool) or search.limit < 1:
        raise ConfigError(f"{where}: limit must be a whole number from 1, not {search.limit!r}.")
    return search


def _routes_from_dlt() -> dict[str, str]:
    """Return ``[sources.orgx.routes]``: table name to the route to use for it.

    Raises:
        ConfigError: It is not a table of names.
    """
    found: Any = _structure_from_dlt("routes")
    if found is None:
        return {}
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found.values()):
        raise ConfigError('[sources.orgx.routes] must name a route for each table, such as decisions = "mcp".')
    if unknown := [str(table) for table in found if table not in TABLES]:
        raise ConfigError(f"[sources.orgx.routes] names the unknown table {', '.join(unknown)}.")
    return {str(table): str(name) for table, name in found.items()}


def has_mcp_package() -> bool:
    """Return whether the MCP package is installed, without importing it."""
    return importlib.util.find_spec("mcp") is not None


def _check_credentials(found: Mapping[str, Any]) -> str:
    """Return the key; empty if there is none and MCP can be read without one.

    Raises:
        ConfigError: There is neither a key nor MCP access, or the key is malformed.
    """
    if found.get("api_key") or not (found.get("mcp_token") or found["has_login"]):
        return check_key(found.get("api_key"))
    if not has_mcp_package():
        raise ConfigError(f"{MCP_PACKAGE}; nothing else can be read without an API key.")
    return ""


def _has_login(mcp_url: str) -> bool:
    try:
        return login_file(mcp_url).exists()
    except (ConfigError, OSError):
        # A home directory that is missing or closed to this user; a run with a key needs none.
        return False


def login_file(mcp_url: str) -> Path:
    """Return the file of the login to an MCP address, in the user's configuration folder.

    Raises:
        ConfigError: This user has no home directory.
    """
    parts = urlsplit(mcp_url)
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{parts.hostname}-{parts.port or ''}{parts.path}").strip("-")
    return _logins() / f"login-{name}.json"


def _logins() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA")
    try:
        return (Path(folder) if folder else Path.home() / ".config") / "orgx-sync"
    except RuntimeError:
        raise ConfigError("This user has no home directory for a login. Set HOME, or XDG_CONFIG_HOME.") from None


def is_anybody_logged_in() -> bool:
    """Return whether this user has a login to any MCP address."""
    try:
        return any(_logins().glob("login-*.json"))
    except (ConfigError, OSError):
        # No home directory, or no permission to read it.
        return False


def _as_number(name: str, value: str) -> float:
    try:
        return int(value) if name == "max_answer_bytes" else float(value)
    except ValueError:
        raise ConfigError(
            f"ORGX_{name.upper()} (or {name} under [sources.orgx]) must be a number, not {value!r}"
        ) from None


def check_settings_files() -> None:
    """Check that dlt can read its settings files: it skips some unreadable files and names no line in others.

    Raises:
        ConfigError: It cannot; the message names file and line, without any content.
    """
    from dlt.common.runtime.run_context import global_dir

    for folder in (Path(os.environ.get("DLT_PROJECT_DIR", "."), ".dlt"), Path(global_dir())):
        for name in ("secrets.toml", "config.toml"):
            file = folder / name
            # Also False without permission: dlt does not see the file either.
            if os.path.lexists(file) and (problem := _problem_with(file)):
                raise ConfigError(f"dlt's settings cannot be read: {file}{problem}.")


def reread_settings_files() -> None:
    """Let dlt read its settings files again: it keeps what it read, also that there were none."""
    from dlt.common.configuration.container import Container
    from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

    Container()[PluggableRunContext].reload_providers()


def _problem_with(file: Path) -> str | None:
    import tomllib

    try:
        content = file.read_bytes()
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return ", line 1: it is UTF-16; save it as UTF-8"
        if content.startswith(codecs.BOM_UTF8):
            return ", line 1: it begins with a byte order mark; save it as UTF-8 without BOM"
        tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        return f", line {error.object[: error.start].count(10) + 1}: it is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        place = f", line {line[1]}" if line else ", at its end"
        return f"{place}: not valid TOML; text needs quotes"
    except OSError as error:
        return f": {error.strerror or type(error).__name__}"
    return None


@contextmanager
def dlt_defaults() -> Iterator[None]:
    """Apply `DLT_SETTINGS` as defaults and `FORCED_SETTINGS` to dlt; restore everything afterwards.

    dlt starts its runtime, including telemetry, on the first settings lookup, which must happen inside this context.
    """
    added = {name: value for name, value in DLT_SETTINGS.items() if name not in os.environ} | FORCED_SETTINGS
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        _forget_lookups()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _forget_lookups() -> None:
    """Clear dlt's record of settings lookups (2,600 in a run), which it keeps for a trace that is not used here."""
    from dlt.common.configuration.container import Container
    from dlt.common.configuration.utils import TraceLogContext

    # One list per thread, including threads that have ended.
    for contexts, _ in list(Container().thread_contexts.values()):
        if isinstance(lookups := contexts.get(TraceLogContext), TraceLogContext):
            lookups.clear()


def check_key(key: Any) -> str:
    """Return the key if it is well-formed.

    Raises:
        ConfigError: It is missing or malformed; the message never contains it.

    Source: authentication page (``Authorization: Bearer oxk_...``); keys with a hyphen, ``oxk-``, are service keys.
    """
    where = "Set SOURCES__ORGX__API_KEY (or ORGX_API_KEY), or api_key under [sources.orgx] in .dlt/secrets.toml"
    if not isinstance(key, str) or not key.strip():
        raise ConfigError(f"No OrgX API key. {where}; create a key in OrgX under Settings.")
    text = key.strip()
    if text.startswith("oxk-"):
        raise ConfigError(f"The OrgX API key is a service key (oxk-); a user's key starts with oxk_. {where}.")
    if not _KEY.fullmatch(text):
        raise ConfigError(
            f"The OrgX API key is malformed: it should be oxk_ and at least eight letters, digits, _ or -. {where}."
        )
    return text


def check_workspace_id(workspace_id: Any) -> str:
    """Return the workspace id, stripped; a UUID in lower case, as OrgX writes it.

    Raises:
        ConfigError: It is empty; an empty filter would read all workspaces.
    """
    text = str(workspace_id).strip()
    if not text:
        raise ConfigError("The workspace id is empty. Check --workspace, or SOURCES__ORGX__WORKSPACE_ID.")
    return text.lower() if _UUID.fullmatch(text) else text


def check_base_url(
    url: str, setting: str = "SOURCES__ORGX__BASE_URL (or ORGX_BASE_URL)", example: str = DEFAULT_BASE_URL
) -> str:
    """Return scheme, host and path of the base URL, without query, fragment and trailing slash.

    Raises:
        ConfigError: Not http(s), plain http to another machine, or a URL with credentials in it.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"The base URL is not valid. Check {setting}.") from None
    if parts.username or parts.password or "@" in parts.netloc:
        raise ConfigError(f"The base URL must not contain credentials; the key has its own setting. Check {setting}.")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"The base URL must look like {example}. Check {setting}.")
    if not (":" in host or _is_name(host)):
        raise ConfigError(f"The base URL has no valid host name. Check {setting}.")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"Plain http to {host} would expose the key; use https. Only loopback addresses may use http. "
            f"Check {setting}."
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _is_name(host: str) -> bool:
    try:
        return bool(_HOST.fullmatch(host.encode("idna").decode()))
    except UnicodeError:
        return False


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine: localhost, 127.0.0.0/8 or ::1."""
    if host.lower() == "localhost":
        return True
    import ipaddress

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
