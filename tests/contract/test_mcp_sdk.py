"""The official SDK's own client at the sandbox's MCP door, and the wire below it: what OrgX is known to answer."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from orgx_source.sandbox import Fault, Sandbox, World

pytest.importorskip("mcp")


@pytest.mark.parametrize("faults", [[], ["json_answers"], ["old_catalog"]], ids=str)
def test_the_sdk_lists_and_searches(faults: list[str]) -> None:
    import anyio
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async def use(box: Sandbox, token: str) -> tuple[list[str], Any]:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
            Client(streamable_http_client(box.mcp_url, http_client=http), mode="legacy") as client,
        ):
            assert client.server_info is not None
            assert client.server_info.name == "orgx-mcp"
            tools = [tool.name for tool in (await client.list_tools()).tools]
            return tools, await client.call_tool("orgx_search", {"type": "decision", "limit": 2})

    with Sandbox(World("small"), faults=[Fault(kind) for kind in faults]) as box:
        tools, result = anyio.run(use, box, box.oauth.grant())
    assert "orgx_search" in tools
    assert ("orgx_decide" in tools) == ("old_catalog" in faults)
    assert not result.is_error
    assert result.structured_content["pagination"]["total"] == 40
    assert len(result.structured_content["results"]) == 2


def test_the_sdk_logs_in_by_itself() -> None:
    import anyio
    import httpx2
    from mcp import Client
    from mcp.client.auth import OAuthClientProvider
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
    from pydantic import AnyUrl

    class Storage:
        tokens: OAuthToken | None = None
        client: OAuthClientInformationFull | None = None

        async def get_tokens(self) -> OAuthToken | None:
            return self.tokens

        async def set_tokens(self, tokens: OAuthToken) -> None:
            self.tokens = tokens

        async def get_client_info(self) -> OAuthClientInformationFull | None:
            return self.client

        async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
            self.client = client_info

    back: dict[str, list[str]] = {}

    async def consent(address: str) -> None:
        def press() -> None:
            back.update(parse_qs(urlsplit(httpx.get(f"{address}&answer=allow").headers["location"]).query))

        thread = threading.Thread(target=press)
        thread.start()
        while thread.is_alive():
            await anyio.sleep(0.01)

    async def callback() -> Any:
        from mcp.client.auth import AuthorizationCodeResult

        return AuthorizationCodeResult(code=back["code"][0], state=back["state"][0], iss=back["iss"][0])

    async def use(box: Sandbox) -> int:
        metadata = OAuthClientMetadata(
            client_name="somebody",
            redirect_uris=[AnyUrl("http://127.0.0.1:9999/callback")],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        )
        auth = OAuthClientProvider(box.mcp_url, metadata, Storage(), consent, callback)
        async with (
            httpx2.AsyncClient(auth=auth) as http,
            Client(streamable_http_client(box.mcp_url, http_client=http), mode="legacy") as client,
        ):
            result = await client.call_tool("orgx_search", {"type": "initiative"})
            return int(result.structured_content["count"])

    with Sandbox(World("small")) as box:
        assert anyio.run(use, box) == 12
        assert len(box.oauth.grants) == 1


START = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}}
BOTH = {"Accept": "application/json, text/event-stream"}
LISTED = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
CASES: dict[str, tuple[dict[str, str], Any, int]] = {
    "an accept that lacks one": ({"Accept": "application/json"}, START, 406),
    "no JSON": ({**BOTH, "Content-Type": "text/plain"}, "x", 415),
    "JSON that is none": ({**BOTH, "Content-Type": "application/json"}, "{", 400),
    "no JSON-RPC": (BOTH, {"id": 1}, 400),
    "initialize in a session": ({**BOTH, "mcp-session-id": "x"}, START, 400),
    "no session": (BOTH, LISTED, 400),
    "an unknown session": ({**BOTH, "mcp-session-id": "x"}, LISTED, 404),
    "a foreign page": ({**BOTH, "Origin": "https://evil.example"}, START, 403),
    "a beginning": (BOTH, START, 200),
}


@pytest.mark.parametrize("case", CASES)
def test_the_door_answers_with_the_status_that_is_known(case: str) -> None:
    headers, body, status = CASES[case]
    how = {"content": body} if isinstance(body, str) else {"json": body}
    with Sandbox(World("small")) as box:
        token = {"Authorization": f"Bearer {box.oauth.grant()}"}
        answer = httpx.post(box.mcp_url, headers={**token, **headers}, **how)
        assert answer.status_code == status
        if status == 200:
            assert answer.text.startswith("event: message\ndata: {")
            assert len(answer.headers["mcp-session-id"]) == 64


def test_a_request_without_a_token_is_told_where_to_get_one() -> None:
    with Sandbox(World("small")) as box:
        answer = httpx.post(box.mcp_url, headers=BOTH, json=START)
        assert (answer.status_code, answer.content) == (401, b"")
        assert "resource_metadata=" in answer.headers["www-authenticate"]
        answer = httpx.post(box.mcp_url, headers={**BOTH, "Authorization": "Bearer x"}, json=START)
        assert answer.json() == {"error": "invalid_token", "error_description": "Invalid access token"}
