"""The login of OrgX's MCP endpoint: discovery, registration, a consent page with one button, rotating tokens.

Only what a client may rely on: tokens are opaque, a refresh token rotates and its predecessor stays valid until the new
one is used, and a grant ends thirty days after the login, regardless of refreshes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from orgx_source.sandbox.answers import json_answer
from orgx_source.sandbox.faults import Hits

if TYPE_CHECKING:
    from orgx_source.sandbox.app import SandboxApp

SCOPES = (
    "decisions:read", "decisions:write", "agents:read", "agents:write", "initiatives:read", "initiatives:write",
    "memory:read", "offline_access",
)  # fmt: skip
TOKEN_SECONDS = 3600.0
GRANT_SECONDS = 30 * 86400.0
CODE_SECONDS = 600.0
LOOPBACK = frozenset({"localhost", "::1"})
USER = "u1"

Endpoint = Callable[[Request, Hits], Awaitable[Response]]


@dataclass
class Grant:
    """The grant of a login.

    Attributes:
        client_id: The client that received it.
        scopes: The granted scopes.
        ends: Its end (Unix seconds), regardless of refreshes.
        refresh: The latest refresh token.
        before: The previous refresh token, valid until the latest one has been used.
        refreshed: Number of refreshes.
    """

    client_id: str
    scopes: tuple[str, ...]
    ends: float
    refresh: str = ""
    before: str = ""
    refreshed: int = 0


@dataclass
class _Code:
    client_id: str
    redirect_uri: str
    challenge: str
    scopes: tuple[str, ...]
    expires: float
    grant_id: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """A valid access token.

    Attributes:
        grant_id: Its grant.
        scopes: The granted scopes.
    """

    grant_id: str
    scopes: tuple[str, ...]


class OAuthRefusal(Exception):
    """Ends a request with an OAuth error."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code, self.description, self.status = code, description, status


@dataclass
class OAuth:
    """The authorization server.

    Attributes:
        app: The sandbox; its faults change the responses.
        clock: Unix seconds; tests may advance it.
        token_seconds: Lifetime of an access token.
        clients: Client id to its registration.
        grants: Grant id to the grant.
        codes: The issued codes, with their details.
    """

    app: SandboxApp
    clock: Callable[[], float] = time.time
    token_seconds: float = TOKEN_SECONDS
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    codes: dict[str, _Code] = field(default_factory=dict)
    _access: dict[str, tuple[str, float]] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        """Return the paths of the login; well-known ones with and without the path of their resource."""
        found = []
        for path, endpoint, methods in (
            ("/.well-known/oauth-protected-resource", self._resource, ["GET"]),
            ("/.well-known/oauth-authorization-server", self._server, ["GET"]),
            ("/register", self._register, ["POST", "GET"]),
            ("/authorize", self._authorize, ["GET"]),
            ("/token", self._token, ["POST", "GET"]),
        ):
            suffixes = ("", "/mcp", "/sse") if path.startswith("/.well-known") else ("",)
            found += [Route(path + suffix, _guard(endpoint), methods=methods) for suffix in suffixes]
        return found

    def grant(self, scopes: Iterable[str] = SCOPES, client_id: str = "elsewhere", seconds: float | None = None) -> str:
        """Grant without a login, and return the access token."""
        grant_id = self._new_grant(client_id, tuple(scopes))
        return self._new_access(grant_id, self.token_seconds if seconds is None else seconds)

    def accept(self, token: str) -> Access | None:
        """Return the access of a token; None if it is unknown, revoked or expired."""
        grant_id, expires = self._access.get(token, ("", 0.0))
        grant, now = self.grants.get(grant_id), self.clock()
        if grant is None or expires <= now or grant.ends <= now:
            return None
        return Access(grant_id, grant.scopes)

    def expire_access(self) -> None:
        """Expire all access tokens now; the grants remain."""
        self._access.clear()

    # -- documents -------------------------------------------------------------------------------------------------

    async def _resource(self, request: Request, hits: Hits) -> Response:
        base = _base(request)
        document = {
            "resource": f"{base}/mcp",
            "authorization_servers": [base],
            "scopes_supported": list(SCOPES),
            "bearer_methods_supported": ["header"],
            "resource_documentation": f"{base}/api/scopes",
            "authorization_policy": f"{base}/.well-known/orgx-authorization-policy",
        }
        return _cached(document)

    async def _server(self, request: Request, hits: Hits) -> Response:
        base = _base(request)
        document: dict[str, Any] = {
            "issuer": base,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "registration_endpoint": f"{base}/register",
            "revocation_endpoint": f"{base}/token",
            "scopes_supported": list(SCOPES),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "client_id_metadata_document_supported": False,
        }
        if "no_registration" in hits:
            del document["registration_endpoint"]
        return _cached(document)

    # -- registration ----------------------------------------------------------------------------------------------

    async def _register(self, request: Request, hits: Hits) -> Response:
        if request.method != "POST":
            raise OAuthRefusal("invalid_request", "Method not allowed", 405)
        if "no_registration" in hits:
            return Response("Not Found", 404)
        try:
            asked = await request.json()
        except ValueError:
            raise OAuthRefusal("invalid_request", "Invalid JSON payload") from None
        addresses = asked.get("redirect_uris")
        if not isinstance(addresses, list) or not addresses or not all(map(_may_redirect, addresses)):
            raise OAuthRefusal("invalid_client_metadata", "At least one redirect URI is required")
        client = {
            "client_id": secrets.token_urlsafe(12),
            "redirect_uris": addresses,
            "client_name": asked.get("client_name"),
            "grant_types": asked.get("grant_types", ["authorization_code"]),
            "response_types": asked.get("response_types", ["code"]),
            "token_endpoint_auth_method": asked.get("token_endpoint_auth_method", "client_secret_basic"),
            "client_id_issued_at": int(self.clock()),
        }
        if client["token_endpoint_auth_method"] != "none":
            client |= {"client_secret": secrets.token_urlsafe(24), "client_secret_expires_at": 0}
        self.clients[client["client_id"]] = client
        return json_answer(client, 201)

    # -- the consent page ------------------------------------------------------------------------------------------

    async def _authorize(self, request: Request, hits: Hits) -> Response:
        query = dict(request.query_params)
        client = self.clients.get(query.get("client_id", ""))
        redirect = query.get("redirect_uri", "")
        problem = None
        if client is None:
            problem = "Invalid client. The clientId provided does not match to this client."
        elif not any(_same_address(redirect, known) for known in client["redirect_uris"]):
            problem = "Invalid redirect URI. The redirect URI provided does not match any registered URI."
        elif query.get("response_type") != "code" or query.get("code_challenge_method") != "S256":
            problem = "Only the code flow with an S256 challenge is supported."
        if problem:
            # A malformed request is not redirected: the browser stays on this page.
            return HTMLResponse(f"<h1>Authorization error</h1><p>{html.escape(problem)}</p>", 400)
        if "deny" in hits or query.get("answer") == "deny":
            said = {"error": "access_denied", "error_description": "The user denied the request"}
            return RedirectResponse(_with_query(redirect, said | {"state": query.get("state", "")}), 302)
        if query.get("answer") != "allow":
            return HTMLResponse(_consent_page(query, client or {}))
        return RedirectResponse(_with_query(redirect, self._answer(request, query, hits)), 302)

    def _answer(self, request: Request, query: dict[str, str], hits: Hits) -> dict[str, str]:
        asked = tuple(query.get("scope", "").split()) or SCOPES
        dropped = (hits.value("drop_scope") or "").split()
        scopes = tuple(scope for scope in asked if scope in SCOPES and scope not in dropped)
        code = f"{USER}:{secrets.token_hex(4)}:{secrets.token_urlsafe(24)}"
        self.codes[code] = _Code(
            query["client_id"],
            query["redirect_uri"],
            query.get("code_challenge", ""),
            scopes,
            self.clock() + CODE_SECONDS,
        )
        state = "not-the-one-that-was-sent" if "wrong_state" in hits else query.get("state", "")
        issuer = "https://somebody.example" if "wrong_iss" in hits else _base(request)
        return {"code": code, "state": state, "iss": issuer}

    # -- tokens ----------------------------------------------------------------------------------------------------

    async def _token(self, request: Request, hits: Hits) -> Response:
        if request.method != "POST":
            raise OAuthRefusal("invalid_request", "Method not allowed", 405)
        form = {key: values[-1] for key, values in parse_qs((await request.body()).decode()).items()}
        if "grant_type" not in form and "token" in form:
            self._revoke(form["token"])
            return Response(b"", 200)
        if form.get("client_id") not in self.clients or "forget_client" in hits:
            raise OAuthRefusal("invalid_client", "Client not found", 401)
        match form.get("grant_type"):
            case "authorization_code":
                return self._exchange(form)
            case "refresh_token":
                return self._refresh(form, hits)
        raise OAuthRefusal("unsupported_grant_type", "Grant type not supported")

    def _exchange(self, form: dict[str, str]) -> Response:
        code = self.codes.get(form.get("code", ""))
        if code is None or code.client_id != form["client_id"] or code.expires <= self.clock():
            raise OAuthRefusal("invalid_grant", "Grant not found or authorization code expired")
        if code.grant_id is not None:
            self.grants.pop(code.grant_id, None)
            raise OAuthRefusal("invalid_grant", "Authorization code already used")
        if code.redirect_uri != form.get("redirect_uri"):
            raise OAuthRefusal("invalid_grant", "Invalid redirect URI")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != code.challenge:
            raise OAuthRefusal("invalid_grant", "Invalid PKCE code_verifier")
        for grant_id, grant in list(self.grants.items()):
            if grant.client_id == code.client_id:
                # A new login with the same client ends the earlier one.
                del self.grants[grant_id]
        code.grant_id = self._new_grant(code.client_id, code.scopes)
        return self._tokens(code.grant_id, form)

    def _refresh(self, form: dict[str, str], hits: Hits) -> Response:
        token = form.get("refresh_token", "")
        grant_id, grant = next(
            ((key, one) for key, one in self.grants.items() if token and token in (one.refresh, one.before)), ("", None)
        )
        if grant is None or grant.ends <= self.clock() or "refuse_refresh" in hits:
            raise OAuthRefusal("invalid_grant", "Grant not found or refresh token expired")
        if grant.client_id != form["client_id"]:
            raise OAuthRefusal("invalid_grant", "Client ID mismatch")
        if token == grant.refresh:
            grant.before = token
        grant.refreshed += 1
        return self._tokens(grant_id, form)

    def _tokens(self, grant_id: str, form: dict[str, str]) -> Response:
        grant = self.grants[grant_id]
        grant.refresh = f"{USER}:{grant_id}:{secrets.token_urlsafe(24)}"
        seconds = min(self.token_seconds, grant.ends - self.clock())
        document: dict[str, Any] = {
            "access_token": self._new_access(grant_id, seconds),
            "token_type": "bearer",
            "expires_in": int(seconds),
            "refresh_token": grant.refresh,
            "scope": " ".join(grant.scopes),
        }
        if "resource" in form:
            document["resource"] = form["resource"]
        response = json_answer(document)
        response.headers["cache-control"] = "no-store"
        return response

    def _revoke(self, token: str) -> None:
        """Revoke an access token, or with a refresh token the whole grant."""
        self._access.pop(token, None)
        for grant_id, grant in list(self.grants.items()):
            if token in (grant.refresh, grant.before):
                del self.grants[grant_id]

    def _new_grant(self, client_id: str, scopes: tuple[str, ...]) -> str:
        grant_id = secrets.token_hex(4)
        self.grants[grant_id] = Grant(client_id, scopes, self.clock() + GRANT_SECONDS)
        return grant_id

    def _new_access(self, grant_id: str, seconds: float) -> str:
        token = f"{USER}:{grant_id}:{secrets.token_urlsafe(24)}"
        self._access[token] = (grant_id, self.clock() + seconds)
        return token


def _guard(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request, request.state.hits)
        except OAuthRefusal as refused:
            said = {"error": refused.code, "error_description": refused.description}
            response = json_answer(said, refused.status)
            response.headers["cache-control"] = "no-store"
            return response

    return answer


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _cached(document: dict[str, Any]) -> Response:
    response = json_answer(document)
    response.headers["cache-control"] = "public, max-age=3600"
    return response


def _may_redirect(address: Any) -> bool:
    return isinstance(address, str) and bool(urlsplit(address).scheme) and not address.startswith("javascript:")


def _same_address(one: str, other: str) -> bool:
    """Compare redirect addresses; on loopback, ignore the port."""
    a, b = urlsplit(one), urlsplit(other)
    if a.scheme == "http" and (a.hostname in LOOPBACK or str(a.hostname).startswith("127.")):
        return (a.scheme, a.hostname, a.path, a.query) == (b.scheme, b.hostname, b.path, b.query)
    return one == other


def _with_query(address: str, said: dict[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(said)}"


def _consent_page(query: dict[str, str], client: dict[str, Any]) -> str:
    fields = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in (query | {"answer": "allow"}).items()
    )
    scopes = "".join(f"<li>{html.escape(scope)}</li>" for scope in query.get("scope", "").split())
    return (
        "<!doctype html><title>OrgX sandbox</title>"
        f"<h1>{html.escape(str(client.get('client_name')))} wants to read Northwind</h1><ul>{scopes}</ul>"
        f'<form method="get" action="/authorize">{fields}<button id="allow">Allow</button></form>'
    )
