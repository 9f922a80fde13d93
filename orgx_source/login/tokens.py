"""Access tokens for OrgX's MCP endpoint: fixed ones from the settings, or those of a stored login, which are refreshed.

The file holds the login. It is replaced atomically, and always before a new refresh token is used: until then OrgX
accepts the previous one, so a process killed in between loses nothing.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from filelock import FileLock

from orgx_source.config import OrgxConfig, login_file
from orgx_source.errors import ConfigError
from orgx_source.login.server import Refused, refresh

GRANT_DAYS = 30
WARN_DAYS = 7
# A token about to expire is refreshed before it is sent, because a refusal would cost a request.
MARGIN_SECONDS = 10.0
LOCK_SECONDS = 60.0
AGAIN = "log in again: orgx-sync login"

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Login:
    """A stored login. Times are unix seconds.

    Attributes:
        mcp_url: Its endpoint.
        client_id: This machine's registration.
        token_endpoint, revocation_endpoint: URLs to refresh and revoke tokens; the latter may be None.
        access_token, refresh_token: Never in a repr, log or error.
        expires_at: When the access token expires.
        logged_in_at: Start of the grant, which ends 30 days later.
        scopes: The granted scopes.
    """

    mcp_url: str
    client_id: str
    token_endpoint: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float
    logged_in_at: float
    scopes: str = ""
    revocation_endpoint: str | None = None

    def days_left(self, now: float) -> float:
        """Return the remaining days of the grant."""
        return (self.logged_in_at + GRANT_DAYS * 86400 - now) / 86400


def describe_login(mcp_url: str, now: float) -> tuple[str, bool] | None:
    """Return a sentence on when the login expires, and whether it is a warning; None without a login.

    Raises:
        ConfigError: See `read_login`.
    """
    login = read_login(mcp_url)
    if login is None:
        return None
    left, host = login.days_left(now), urlsplit(mcp_url).netloc
    if left <= 0:
        return f"The login to {host} has expired; {AGAIN}", True
    days = f"{left:.0f} days" if left >= 2 else f"{left * 24:.0f} hours"
    return f"The login to {host} expires in {days}" + (f"; {AGAIN}" if left < WARN_DAYS else ""), left < WARN_DAYS


class Tokens(Protocol):
    """Provides access tokens; thread-safe.

    Attributes:
        last: The last token returned; None before the first.
    """

    last: str | None

    def access(self) -> str:
        """Return a valid token.

        Raises:
            OrgxError: There is none.
        """

    def renew(self, refused: str) -> None:
        """Replace a refused token.

        Raises:
            OrgxError: There is none.
        """


def open_tokens(config: OrgxConfig) -> Tokens:
    """Return the source of access tokens: the settings, else the stored login."""
    return GivenToken(config.mcp_token) if config.mcp_token else StoredTokens(config.mcp_url)


def identity(config: OrgxConfig) -> str:
    """Return a string that identifies the user if the token contains one; refreshing does not change it."""
    if config.mcp_token:
        # The format in OrgX's library is user:grant:secret. Other formats are unknown.
        user, _, rest = config.mcp_token.partition(":")
        return user if rest.count(":") == 1 else config.mcp_token
    login = None
    with suppress(ConfigError):
        # A damaged file is reported when the token is needed.
        login = read_login(config.mcp_url)
    if login is None:
        return config.mcp_url
    user, _, rest = login.access_token.partition(":")
    return user if rest.count(":") == 1 else login.client_id


class GivenToken:
    """An external token, which cannot be refreshed here."""

    def __init__(self, token: str) -> None:
        self.last: str | None = token
        self._token = token

    def access(self) -> str:
        """Return the token."""
        return self._token

    def renew(self, refused: str) -> None:
        """Always fail.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "OrgX refused the token in ORGX_MCP_TOKEN: it has expired or is invalid, and cannot be refreshed. Set "
            "a new one, or remove it and log in: orgx-sync login"
        )


class StoredTokens:
    """The tokens of the stored login, refreshed when they expire."""

    def __init__(self, mcp_url: str, clock: Clock = time.time) -> None:
        """Prepare; reads nothing.

        Args:
            mcp_url: The endpoint.
            clock: Unix seconds.
        """
        self.last: str | None = None
        self._mcp_url = mcp_url
        self._clock = clock
        self._login: Login | None = None

    def access(self) -> str:
        """Return the access token, refreshed if it is about to expire.

        Raises:
            ConfigError: There is no login, or it has expired.
            OrgxError: It cannot be refreshed now.
        """
        login = self._login or self._read()
        if login.expires_at <= self._clock() + MARGIN_SECONDS:
            login = self._renewed(login.access_token)
        self._login, self.last = login, login.access_token
        return login.access_token

    def renew(self, refused: str) -> None:
        """Replace a refused token; see `access`."""
        self._login = self._renewed(refused)

    def _renewed(self, refused: str) -> Login:
        """Return the login with a new token: from another process, or refreshed here."""
        path = login_file(self._mcp_url)
        with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            login = self._read()
            if login.access_token != refused:
                return login
            if login.days_left(self._clock()) <= 0:
                raise ConfigError(f"The login to {self._mcp_url} expired after {GRANT_DAYS} days; {AGAIN}")
            try:
                answer = refresh(login.token_endpoint, login.client_id, login.refresh_token)
            except Refused as refusal:
                raise ConfigError(f"OrgX refused to refresh this login ({refusal}); {AGAIN}") from None
            login = with_tokens(asdict(login), answer, self._clock())
            write_login(login)
            return login

    def _read(self) -> Login:
        login = read_login(self._mcp_url)
        if login is None:
            raise ConfigError(f"There is no login to {self._mcp_url}; log in: orgx-sync login")
        return login


def with_tokens(known: dict[str, Any], answer: dict[str, Any], now: float) -> Login:
    """Return a login with the tokens of a response.

    Args:
        known: The other values of the `Login`.
        answer: Response of the token endpoint.
        now: Unix seconds.
    """
    seconds = answer.get("expires_in")
    renewed = {
        "access_token": answer["access_token"],
        "refresh_token": answer.get("refresh_token") or known.get("refresh_token", ""),
        "expires_at": now + (float(seconds) if isinstance(seconds, int | float) else 3600.0),
        "scopes": answer.get("scope") or known.get("scopes", ""),
    }
    return Login(**{**known, **renewed})


def read_login(mcp_url: str) -> Login | None:
    """Return the stored login to an endpoint; None if there is none.

    Raises:
        ConfigError: The file is damaged, or readable by others.
    """
    path = login_file(mcp_url)
    try:
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"The login in {path} is readable by other users. Fix that: chmod 600 '{path}'")
        found = json.loads(path.read_text(encoding="utf-8"))
        return Login(**{**found, "expires_at": float(found["expires_at"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError(f"The login in {path} is damaged; {AGAIN}") from None


def write_login(login: Login) -> None:
    """Store a login atomically, readable by its owner only.

    Raises:
        OSError: The file cannot be written.
    """
    path = login_file(login.mcp_url)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(login), file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
