"""Requests to the authorization server of OrgX's MCP endpoint; each is sent once, and refusals are reported.

Errors never contain a token, code or verifier.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from orgx_source.config import check_base_url
from orgx_source.errors import ConfigError, ConnectionFailedError, OrgxError
from orgx_source.version import __version__
from orgx_source.web.body import CODINGS, BodyTooLargeError, collect, unpack
from orgx_source.web.network import OverdueError, Patience, find_proxy, make_network

# For the whole response.
TIMEOUT_SECONDS = 20.0
MAX_BYTES = 2**20
CLIENT_NAME = "orgx-sync"


class Refused(OrgxError):
    """The server returned an OAuth error."""

    exit_code = 3

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code


@dataclass(frozen=True, slots=True)
class AuthServer:
    """The metadata of an authorization server.

    Attributes:
        issuer: Its identifier, as in redirects.
        authorization_endpoint, token_endpoint: URLs for consent and for tokens.
        registration_endpoint, revocation_endpoint: URLs; None if the server has none.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str | None
    revocation_endpoint: str | None


def discover(mcp_url: str) -> AuthServer:
    """Find the authorization server of an endpoint.

    Raises:
        ConfigError: There is none, or none that allows a login from the command line.
        ConnectionFailedError: There is no response.
    """
    parts = urlsplit(mcp_url)
    origin = f"{parts.scheme}://{parts.netloc}"
    resource = _document(f"{origin}/.well-known/oauth-protected-resource{parts.path}") or _document(
        f"{origin}/.well-known/oauth-protected-resource"
    )
    named = (resource or {}).get("authorization_servers")
    listed = named[0] if isinstance(named, list) and named else None
    server = _address(listed) or origin
    document = _document(f"{server}/.well-known/oauth-authorization-server")
    if document is None:
        raise ConfigError(f"{origin} has no authorization server; check ORGX_MCP_URL")
    addresses = {name: _address(document.get(f"{name}_endpoint")) for name in ("authorization", "token")}
    if None in addresses.values():
        raise ConfigError(f"The metadata of {server} has no authorization or token endpoint; check ORGX_MCP_URL")
    return AuthServer(
        str(document.get("issuer") or server),
        str(addresses["authorization"]),
        str(addresses["token"]),
        _address(document.get("registration_endpoint")),
        _address(document.get("revocation_endpoint")),
    )


def register(server: AuthServer, redirect_uri: str) -> str:
    """Register this machine and return its client id: two machines with the same id would end each other's grants.

    Raises:
        ConfigError: The server accepts no registrations.
        Refused: The server refuses this registration.
        ConnectionFailedError: There is no response.
    """
    if server.registration_endpoint is None:
        raise ConfigError(f"{server.issuer} accepts no registrations, so a login from the command line is not possible")
    asked = {
        "client_name": CLIENT_NAME,
        "redirect_uris": [redirect_uri],
        # Both are explicit: the defaults are a client with a secret that cannot refresh its tokens.
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    answer = _json(_send("POST", server.registration_endpoint, json=asked), "the registration")
    client_id = answer.get("client_id")
    if not isinstance(client_id, str) or not client_id:
        raise ConfigError(f"{server.issuer} returned no client id for the registration")
    return client_id


def exchange(server: AuthServer, client_id: str, code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
    """Return the tokens for the code of a redirect.

    Raises:
        Refused: The server refuses.
        ConnectionFailedError: There is no response.
    """
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "client_id": client_id}
    return _tokens(server.token_endpoint, form | {"code_verifier": verifier})


def refresh(token_endpoint: str, client_id: str, refresh_token: str) -> dict[str, Any]:
    """Return new tokens; see `exchange`."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": client_id}
    return _tokens(token_endpoint, form)


def revoke(revocation_endpoint: str, client_id: str, refresh_token: str) -> None:
    """Revoke a grant.

    Raises:
        OrgxError: The grant was not revoked.
    """
    form = {"token": refresh_token, "token_type_hint": "refresh_token", "client_id": client_id}
    response = _send("POST", revocation_endpoint, data=form)
    if response.status_code >= 400:
        raise OrgxError(f"{response.status_code} from {_where(revocation_endpoint)}: the login was not revoked")


def _tokens(endpoint: str, form: dict[str, str]) -> dict[str, Any]:
    answer = _json(_send("POST", endpoint, data=form), "the token endpoint")
    if not isinstance(answer.get("access_token"), str) or not answer["access_token"]:
        raise Refused("no_token", "the response has no access token")
    return answer


def _document(address: str) -> dict[str, Any] | None:
    """Return a JSON document; None if there is none."""
    response = _send("GET", address)
    _refuse_passing(response)
    return _parsed(response) if response.status_code == 200 else None


def _refuse_passing(response: httpx.Response) -> None:
    if response.status_code >= 500 or response.status_code == 429:
        raise ConnectionFailedError(f"{response.status_code} from {_where(str(response.url))}; try again later")


def _parsed(response: httpx.Response) -> dict[str, Any] | None:
    try:
        found = response.json()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _json(response: httpx.Response, what: str) -> dict[str, Any]:
    _refuse_passing(response)
    answer = _parsed(response)
    if response.status_code >= 400 or answer is None:
        said = answer or {}
        code = str(said.get("error") or f"{response.status_code} from {_where(str(response.url))}")
        raise Refused(code, str(said.get("error_description") or f"{what} was refused")[:200])
    return answer


def _send(method: str, address: str, **what: Any) -> httpx.Response:
    patience = Patience()
    headers = {"user-agent": f"orgx-source/{__version__}", "accept-encoding": CODINGS}
    network = make_network(address, httpx.Limits(), find_proxy(address), patience)
    try:
        with (
            httpx.Client(transport=network, trust_env=False, timeout=TIMEOUT_SECONDS, headers=headers) as client,
            patience.until(TIMEOUT_SECONDS),
            client.stream(method, address, **what) as response,
        ):
            body = collect(cast(Iterable[bytes], response.stream), MAX_BYTES)
            body = unpack(body, response.headers.get("content-encoding", ""), MAX_BYTES)
            return httpx.Response(response.status_code, content=body, request=response.request)
    except (httpx.HTTPError, OverdueError) as error:
        overdue = isinstance(error, OverdueError | httpx.TimeoutException)
        why = "timed out" if overdue else f"cannot be reached ({error})"
        raise ConnectionFailedError(f"{_where(address)} {why}; check ORGX_MCP_URL and the network") from None
    except (BodyTooLargeError, ValueError) as error:
        why = f"returned a body that {error}" if str(error) else "returned more than 1 MiB"
        raise ConfigError(f"{_where(address)} {why}; check ORGX_MCP_URL") from None


def _address(value: Any) -> str | None:
    """Return a URL from a document if it may receive secrets; None if it is missing.

    Raises:
        ConfigError: It is not a URL, or uses plain http to another machine.
    """
    return check_base_url(value, "ORGX_MCP_URL", "https://host/path") if isinstance(value, str) else None


def _where(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.netloc}{parts.path}"
