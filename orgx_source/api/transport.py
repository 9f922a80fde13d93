"""The transport interface: sends one request to OrgX and returns the response.

Retries, waiting and the budget belong to the client. Implementations are HTTP, MCP and, in tests, a list of pages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from orgx_source.api.envelope import Page, Row
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import Route
from orgx_source.errors import ConfigError


def _ignore(headers: Mapping[str, str]) -> None:
    """Ignore it."""


def _no_more() -> None:
    """Apply no limit."""


class Transport(ABC):
    """Sends one request and returns its response; thread-safe.

    A failure is raised as an `OrgxError`: ``retryable`` says whether the client may retry, ``retry_after`` how long
    OrgX asks to wait first.

    Attributes:
        server_time: OrgX's time in its last response; None if it sent none.
        observe: Called with the rate-limit information of each response (``X-RateLimit-*``); set by the client.
        spend: Called before each additional request; set by the client.
        workspaces: The visible workspaces if bootstrap listed them all; else None.
    """

    server_time: datetime | None = None
    observe: Callable[[Mapping[str, str]], None] = staticmethod(_ignore)
    spend: Callable[[], None] = staticmethod(_no_more)
    workspaces: Sequence[Row] | None = None

    @property
    def overhead(self) -> int:
        """Return the number of requests that fetch no page, as far as known."""
        return 1

    @abstractmethod
    def bootstrap(self) -> Row:
        """Fetch the workspace that the key resolves to.

        Raises:
            OrgxError: It was refused, or the response cannot be read.
        """

    @abstractmethod
    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        """Fetch one page of a list.

        Raises:
            OrgxError: It was refused, or the response cannot be read.
        """

    def run_tool(self, tool: str, arguments: Mapping[str, Any]) -> Row:
        """Run a tool at OrgX; return its response unchanged, including one with ``ok: false``.

        Raises:
            ConfigError: This transport cannot run tools.
            OrgxError: It was refused, or the response cannot be read.
        """
        raise ConfigError("Saved searches of memory need an API key (SOURCES__ORGX__API_KEY or ORGX_API_KEY)")

    def close(self) -> None:
        """Close all connections."""
        return
