"""Settings: where each comes from, and whether it can be used. No request is made here.

By dlt's rules: ``SOURCES__ORGX__API_KEY`` in the environment or ``[sources.orgx]`` in ``.dlt/*.toml``; the plain
``ORGX_API_KEY`` and ``ORGX_BASE_URL`` of OrgX's own clients work too. A value passed by the caller wins.
"""

from __future__ import annotations

import codecs
import importlib.util
import ipaddress
import json
import os
import re
import tomllib
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
# What dlt does unless the user says otherwise. What was merged is not kept a second time in the staging dataset: half
# the file, and half the time to close it.
DLT_SETTINGS = {"RUNTIME__DLTHUB_TELEMETRY": "false", "LOAD__TRUNCATE_STAGING_DATASET": "true"}
LEAST = {
    "workers": 1, "page_size": 1, "max_requests": 0, "max_wait": 0, "lock_timeout": 0, "sample": 0,
    "request_timeout": 0.1, "max_answer_bytes": 1024,
}  # fmt: skip
# What dlt does whatever the user says: a job that failed fails its load, the load stays as it is until a run has
# decided about it, no job is tried for ever, and no time loses its last digits.
FORCED_SETTINGS = {
    "LOAD__RAISE_ON_FAILED_JOBS": "true",
    "LOAD__AUTO_ABORT_ON_TERMINAL_ERROR": "false",
    "LOAD__RAISE_ON_MAX_RETRIES": "5",
    "DATA_WRITER__ALLOW_TRUNCATED_TIMESTAMPS": "false",
}
# Where a setting may stand beside dlt's providers; None for those that have no name of their own.
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
"""A way to OrgX's lists."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_KEY = re.compile(r"oxk_[A-Za-z0-9_\-]{8,}")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.\-]*[a-z0-9_])?\.?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """What OrgX's memory is asked in every run.

    Attributes:
        name: What the search is called in the warehouse.
        query: What is asked.
        scope: all, artifacts, decisions or initiatives.
        limit: Hits to ask for at most.
    """

    name: str
    query: str
    scope: str = "all"
    limit: int = 20


@dataclass(frozen=True, slots=True)
class OrgxConfig:
    """Everything a read needs to know before its first request.

    Attributes:
        api_key: The ``oxk_`` key. It is in no repr, log or error. Empty where only MCP is read.
        base_url: Scheme and host, no trailing slash.
        workspace_id: Ask for this workspace only; None takes what OrgX gives the key.
        workers: Pages asked for at the same time, over all tables.
        page_size: Rows asked for per page.
        max_wait: Seconds this run may wait on limits and backoff.
        max_requests: Requests this run may send; None for no bound.
        full: Read every table whole, whatever the cursor says.
        full_every: How old the last full read of a table may become.
        overlap: How far before the cursor an incremental read goes back.
        lock_timeout: Seconds this run may wait for a DuckDB file that another process has open.
        sample: Requests of a run that look at old rows, to find what changed without a trace; 0 for none.
        request_timeout: Seconds that one answer may take, from the connection to its last byte.
        max_answer_bytes: Bytes that one answer may have, unpacked.
        routes: Table name to the path of the one route to use for it.
        mcp_url: OrgX's MCP door.
        mcp_token: An access token for it from elsewhere, which is not refreshed; None where a login gives one.
        has_login: Whether a login for it is stored on this machine.
        memory: Saved searches of OrgX's memory.
        optional_tables: Optional tables to read where no table is named.
        marts: Whether a run makes the marts, or leaves them as they are.
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
        """Return the tables to read: those that are named, or all but the optional ones that the settings leave out.

        Args:
            named: Tables that somebody named.
            among: Tables to choose from otherwise.
        """
        left_out = set(OPTIONAL_TABLES).difference(self.optional_tables)
        return list(named) if named else [name for name in among if name not in left_out]

    @property
    def doors(self) -> frozenset[Door]:
        """Return which doors these settings open: REST with a key, MCP with a token or a login and its package."""
        found: list[Door] = ["rest"] if self.api_key else []
        if (self.mcp_token or self.has_login) and has_mcp_package():
            found.append("mcp")
        return frozenset(found)


def load_config(**given: Any) -> OrgxConfig:
    """Put the settings together; what the caller gives (not None) wins over dlt's providers and the environment.

    Raises:
        ConfigError: No key, a malformed key, an empty workspace, a base URL the key must not travel to, or a number
            that makes no sense.
    """
    found: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name, plain in PLAIN_NAMES.items():
        if name not in found:
            value = _from_dlt(name) or (os.environ.get(plain) if plain else None)
            if value:
                found[name] = value
    found["mcp_url"] = check_base_url(found.get("mcp_url", DEFAULT_MCP_URL), MCP_SETTING, DEFAULT_MCP_URL)
    found["has_login"] = login_file(found["mcp_url"]).exists()
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
        # Turned around, so that what is no number (NaN) is refused as well.
        if found.get(name) is not None and not found[name] >= least:
            raise ConfigError(f"{name} must be at least {least}, not {found[name]}")
    return OrgxConfig(**found)


def read_optional_tables() -> tuple[str, ...]:
    """Return which optional tables the settings say to read: all of them, unless they say otherwise.

    Raises:
        ConfigError: One is named that is none.
    """
    text = _from_dlt("optional_tables") or os.environ.get("ORGX_OPTIONAL_TABLES") or "all"
    # A list in TOML comes as the text of a list.
    names = tuple(filter(None, (name.strip(" \t\n\"'[]") for name in text.split(","))))
    if names in (("all",), ("none",), ()):
        return OPTIONAL_TABLES if names == ("all",) else ()
    if unknown := [name for name in names if name not in OPTIONAL_TABLES]:
        raise ConfigError(
            f"ORGX_OPTIONAL_TABLES (or optional_tables under [sources.orgx]) names {', '.join(unknown)}; it may be "
            f"all, none, or some of {', '.join(OPTIONAL_TABLES)}"
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
    """Return the address of OrgX's MCP door, from the settings.

    Raises:
        ConfigError: It is none that a token may travel to.
    """
    found = os.environ.get("SOURCES__ORGX__MCP_URL") or os.environ.get("ORGX_MCP_URL") or _from_dlt("mcp_url")
    return check_base_url(found or DEFAULT_MCP_URL, MCP_SETTING, DEFAULT_MCP_URL)


def _structure_from_dlt(name: str) -> Any:
    """Return a setting that is a table or a list; in the environment it is written as JSON."""
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
        ConfigError: One of them cannot be asked, or two have one name.
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
        raise ConfigError(f"{where} has {', '.join(sorted(map(str, unknown)))}; it takes name, query, scope and limit.")
    for key in ("name", "query"):
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise ConfigError(f"{where} needs a {key}.")
    search = SavedSearch(**given)
    if search.scope not in MEMORY_SCOPES:
        raise ConfigError(f"{where}: scope must be one of {', '.join(MEMORY_SCOPES)}, not {search.scope!r}.")
    if not isinstance(search.limit, int) or isinstance(search.limit, bool) or search.limit < 1:
        raise ConfigError(f"{where}: limit must be a number from 1, not {search.limit!r}.")
    return search


def _routes_from_dlt() -> dict[str, str]:
    """Return ``[sources.orgx.routes]``: table name to the route to use for it.

    Raises:
        ConfigError: It is no table of names.
    """
    found: Any = _structure_from_dlt("routes")
    if found is None:
        return {}
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found.values()):
        raise ConfigError('[sources.orgx.routes] must name a route for each table, such as decisions = "mcp".')
    return {str(table): str(name) for table, name in found.items()}


def has_mcp_package() -> bool:
    """Return whether the package that speaks MCP is installed; it is not imported for that."""
    return importlib.util.find_spec("mcp") is not None


def _check_credentials(found: Mapping[str, Any]) -> str:
    """Return the key; empty where there is none and MCP can be read without.

    Raises:
        ConfigError: Neither a key nor anything that opens MCP, or a key that cannot be one.
    """
    if found.get("api_key") or not (found.get("mcp_token") or found["has_login"]):
        return check_key(found.get("api_key"))
    if not has_mcp_package():
        raise ConfigError(f"{MCP_PACKAGE}; without an API key nothing else can be read.")
    return ""


def login_file(mcp_url: str) -> Path:
    """Return the file that keeps the login for an MCP address, in the user's folder for settings."""
    parts = urlsplit(mcp_url)
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{parts.hostname}-{parts.port or ''}{parts.path}").strip("-")
    return _logins() / f"login-{name}.json"


def _logins() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA")
    return (Path(folder) if folder else Path.home() / ".config") / "orgx-sync"


def is_anybody_logged_in() -> bool:
    """Return whether this user has a login for some MCP address."""
    try:
        return any(_logins().glob("login-*.json"))
    except (OSError, RuntimeError):
        # No home, or no right to look into it.
        return False


def _as_number(name: str, value: str) -> float:
    try:
        return int(value) if name == "max_answer_bytes" else float(value)
    except ValueError:
        raise ConfigError(f"ORGX_{name.upper()} (or {name} under [sources.orgx]) must be a number: {value!r}") from None


def check_settings_files() -> None:
    """Look whether dlt can read its settings files: it passes over some that it cannot, and names no line of others.

    Raises:
        ConfigError: It cannot; the message names file and line, and holds nothing of what is in it.
    """
    from dlt.common.runtime.run_context import global_dir

    for folder in (Path(os.environ.get("DLT_PROJECT_DIR", "."), ".dlt"), Path(global_dir())):
        for name in ("secrets.toml", "config.toml"):
            file = folder / name
            # False too where nobody may look: what dlt never sees is no obstacle.
            if os.path.lexists(file) and (problem := _problem_with(file)):
                raise ConfigError(f"dlt's settings cannot be read: {file}{problem}.")


def _problem_with(file: Path) -> str | None:
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
    """Let dlt work with `DLT_SETTINGS` where the user has no other, and with `FORCED_SETTINGS`; restore all afterwards.

    dlt starts its runtime, telemetry with it, when a setting is first asked for: whoever does that does it in here.
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
    """Let dlt forget which settings it looked up, 2,600 in a run: it keeps them for a trace, and ours has none."""
    from dlt.common.configuration.container import Container
    from dlt.common.configuration.utils import TraceLogContext

    # One list for each thread, also of threads that have ended.
    for contexts, _ in list(Container().thread_contexts.values()):
        if isinstance(lookups := contexts.get(TraceLogContext), TraceLogContext):
            lookups.clear()


def check_key(key: Any) -> str:
    """Return the key if it can be one.

    Raises:
        ConfigError: It is missing or has another form; the message never holds it.

    Source: authentication page (``Authorization: Bearer oxk_...``); keys with a hyphen, ``oxk-``, are service keys.
    """
    where = "Set SOURCES__ORGX__API_KEY (or ORGX_API_KEY), or api_key under [sources.orgx] in .dlt/secrets.toml"
    if not isinstance(key, str) or not key.strip():
        raise ConfigError(f"No OrgX API key. {where}; create a key in OrgX under Settings.")
    text = key.strip()
    if text.startswith("oxk-"):
        raise ConfigError(f"The OrgX API key is a service key (oxk-); a user's key starts with oxk_. {where}.")
    if not _KEY.fullmatch(text):
        raise ConfigError(f"The OrgX API key is malformed: it should be oxk_ followed by letters and digits. {where}.")
    return text


def check_workspace_id(workspace_id: Any) -> str:
    """Return the id of a workspace without blanks around it; a UUID in small letters, as OrgX writes it.

    Raises:
        ConfigError: It is empty: nobody who names a workspace wants all of them.
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
        raise ConfigError(f"The base URL contains credentials; the key has its own setting. Check {setting}.")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"The base URL must look like {example}. Check {setting}.")
    if not (":" in host or _is_name(host)):
        raise ConfigError(f"The base URL names no host that can be looked up. Check {setting}.")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"Plain http to {host} would show the key to the network; use https. Only loopback addresses may use http. "
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
    """Return whether a host is this machine, whatever stands in between: localhost, 127.0.0.0/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
