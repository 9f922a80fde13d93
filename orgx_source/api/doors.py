"""Chooses the transport of a request: REST with a key or MCP with a login, each opened on first use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orgx_source.api.envelope import Page, Row
from orgx_source.api.http import HttpTransport
from orgx_source.api.mcp import McpTransport, connect_with
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import Route
from orgx_source.api.transport import Transport
from orgx_source.config import OrgxConfig
from orgx_source.login.tokens import open_tokens


def open_doors(config: OrgxConfig) -> Transport:
    """Return the transport for all interfaces that the settings allow; sends nothing."""
    if "mcp" not in config.doors:
        return HttpTransport(config)
    mcp = McpTransport(config.mcp_url, open_tokens(config), connect_with(config.max_answer_bytes))
    return Doors(HttpTransport(config), mcp) if config.api_key else mcp


class Doors(Transport):
    """Combines two transports; the route determines which one is used."""

    def __init__(self, rest: Transport, mcp: Transport) -> None:
        """Combine them.

        Args:
            rest: For bootstrap and the REST routes.
            mcp: For the MCP routes.
        """
        self._rest, self._mcp = rest, mcp
        for door in (rest, mcp):
            # Looked up at call time: the client sets it later, on this object.
            door.observe = lambda headers: self.observe(headers)
            door.spend = lambda: self.spend()

    @property
    def overhead(self) -> int:
        """Return the number of requests that fetch no page, over both."""
        return self._rest.overhead + self._mcp.overhead

    def bootstrap(self) -> Row:
        """Fetch the workspace that the key resolves to."""
        try:
            return self._rest.bootstrap()
        finally:
            self.server_time = self._rest.server_time

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        """Fetch one page of a list through the transport of its route."""
        door = self._mcp if route.door == "mcp" else self._rest
        try:
            return door.fetch_page(route, query)
        finally:
            self.server_time = door.server_time or self.server_time

    def run_tool(self, tool: str, arguments: Mapping[str, Any]) -> Row:
        """Run a tool at OrgX; needs a key."""
        return self._rest.run_tool(tool, arguments)

    def close(self) -> None:
        """Close both."""
        self._rest.close()
        self._mcp.close()
