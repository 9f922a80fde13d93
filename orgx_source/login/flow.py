"""Logs in from the command line: registers, waits for consent in a browser, and receives the code.

Nothing is stored before the tokens are received.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import queue
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from orgx_source.config import login_file
from orgx_source.errors import ConfigError, OrgxError
from orgx_source.login.server import AuthServer, Refused, discover, exchange, register, revoke
from orgx_source.login.tokens import Clock, Login, read_login, with_tokens, write_login

SCOPES = "decisions:read agents:read initiatives:read memory:read offline_access"
HOST = "127.0.0.1"
# Any port works; a fixed one is easier to allow in a firewall.
PORT = 8976
CALLBACK = "/callback"
PATIENCE_SECONDS = 300.0
_PAGE = (
    b"<!doctype html><title>orgx-sync</title><h1>Back to the terminal</h1>"
    b"<p>OrgX has responded. You can close this window.</p>"
)


class LoginError(OrgxError):
    """The login failed; nothing was stored."""

    exit_code = 4


class _Callback(BaseHTTPRequestHandler):
    """Receives the redirect that completes a login."""

    server: _Waiting

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        found = parts.path == CALLBACK
        self.send_response(200 if found else 404)
        for name, value in (("Content-Type", "text/html"), ("Referrer-Policy", "no-referrer"), ("Connection", "close")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(_PAGE if found else b"")
        if found:
            self.server.answers.put({name: values[-1] for name, values in parse_qs(parts.query).items()})

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the URL contains the code."""


class _Waiting(ThreadingHTTPServer):
    """Waits for the redirect, on loopback only."""

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self) -> None:
        self.answers: queue.Queue[dict[str, str]] = queue.Queue()
        try:
            super().__init__((HOST, PORT), _Callback)
        except OSError:
            super().__init__((HOST, 0), _Callback)
        self.redirect_uri = f"http://{HOST}:{self.server_port}{CALLBACK}"

    def __enter__(self) -> _Waiting:
        threading.Thread(target=self.serve_forever, args=(0.05,), name="orgx-login", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()


def log_in(
    mcp_url: str,
    show: Callable[[str], None],
    open_browser: Callable[[str], object] | None = None,
    *,
    patience: float = PATIENCE_SECONDS,
    clock: Clock = time.time,
) -> Login:
    """Log in and store the tokens; an earlier login on this machine is replaced, and revoked if possible.

    Args:
        mcp_url: The endpoint to log in to.
        show: Receives the URL to open in a browser, before the wait.
        open_browser: Opens the URL; None to leave that to the user.
        patience: Seconds to wait for consent.
        clock: Unix seconds.

    Raises:
        LoginError: There was no response in time.
        ConfigError: The login was refused, the redirect does not belong to it, or the server does not support logins.
        ConnectionFailedError: The server cannot be reached.
    """
    server = discover(mcp_url)
    with _Waiting() as waiting:
        client_id = register(server, waiting.redirect_uri)
        state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
        show(address := _address(server, client_id, waiting.redirect_uri, state, verifier))
        code = _code_of(_wait_for_consent(waiting, address, open_browser, patience), state, server)
    try:
        tokens = exchange(server, client_id, code, verifier, waiting.redirect_uri)
    except Refused as refusal:
        raise ConfigError(f"{server.issuer} returned no tokens for the login ({refusal}); nothing was stored") from None
    now = clock()
    known = {
        "mcp_url": mcp_url,
        "client_id": client_id,
        "token_endpoint": server.token_endpoint,
        "revocation_endpoint": server.revocation_endpoint,
        "logged_in_at": now,
    }
    login = with_tokens(known, tokens, now)
    _replace_login(login, mcp_url)
    return login


def _wait_for_consent(
    waiting: _Waiting, address: str, open_browser: Callable[[str], object] | None, patience: float
) -> dict[str, str]:
    if open_browser is not None:
        # With some browsers, the call does not return until the browser is closed.
        threading.Thread(target=open_browser, args=(address,), daemon=True).start()
    try:
        return waiting.answers.get(timeout=patience)
    except queue.Empty:
        raise LoginError(f"No response within {patience / 60:.0f} minutes; you are not logged in") from None


def _replace_login(login: Login, mcp_url: str) -> None:
    before = None
    with suppress(OrgxError):
        before = read_login(mcp_url)
    write_login(login)
    if before is not None:
        # Two registrations, two grants: the older one is no longer needed.
        with suppress(OrgxError):
            _revoke(before)


def log_out(mcp_url: str) -> bool:
    """Revoke and remove the stored login; return whether there was one.

    Raises:
        LoginError: The login was removed, but could not be revoked.
    """
    path = login_file(mcp_url)
    found = path.exists()
    trouble = None
    try:
        login = read_login(mcp_url)
        if login is not None:
            _revoke(login)
    except OrgxError as error:
        trouble = error
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if trouble is not None:
        raise LoginError(
            "The login was removed from this machine, but not revoked at OrgX, where it is valid until it expires: "
            f"{trouble}"
        )
    return found


def _revoke(login: Login) -> None:
    if login.revocation_endpoint is not None:
        revoke(login.revocation_endpoint, login.client_id, login.refresh_token)


def _address(server: AuthServer, client_id: str, redirect_uri: str, state: str, verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": SCOPES,
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    return f"{server.authorization_endpoint}?{urlencode(asked)}"


def _code_of(answer: dict[str, str], state: str, server: AuthServer) -> str:
    """Return the code of a redirect that belongs to this login.

    Raises:
        ConfigError: The redirect does not belong to this login, or the login was refused.
    """
    if not hmac.compare_digest(answer.get("state", "").encode(), state.encode()):
        raise ConfigError("The redirect has a wrong state, so it does not belong to this login")
    if answer.get("iss", server.issuer) != server.issuer:
        raise ConfigError(f"The browser returned from a server other than {server.issuer}; nothing was stored")
    if "error" in answer:
        said = answer.get("error_description") or answer["error"]
        raise ConfigError(f"The login was refused ({said[:200]}); nothing was stored")
    if not answer.get("code"):
        raise ConfigError("The browser returned without a code; nothing was stored")
    return answer["code"]
