"""The one thing that is different between doors to OrgX: how a question gets there and an answer comes back.

Retries, waiting and the budget are the client's, around any transport. HTTP is one; a list of pages in a test is
another.
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
    """Take no notice."""


def _no_more() -> None:
    """Know no bound."""


class Transport(ABC):
    """Sends one request and returns its answer; several threads use one instance at once.

    A failure is raised as an `OrgxError`: its ``retryable`` says whether the client may send the request again, its
    ``retry_after`` how long OrgX asks to wait before.

    Attributes:
        server_time: What OrgX's clock said with its last answer; None when it does not say.
        observe: To be called with what each answer says about rate limits (``X-RateLimit-*``); set by the client.
        spend: To be called before each request beyond the one that was asked for; set by the client.
        workspaces: The workspaces that are seen, where bootstrap has told them all; else None.
    """

    server_time: datetime | None = None
    observe: Callable[[Mapping[str, str]], None] = staticmethod(_ignore)
    spend: Callable[[], None] = staticmethod(_no_more)
    workspaces: Sequence[Row] | None = None

    @property
    def overhead(self) -> int:
        """Return how many requests of a run are no pages, as far as is known so far."""
        return 1

    @abstractmethod
    def bootstrap(self) -> Row:
        """Fetch the workspace that the key resolves to.

        Raises:
            OrgxError: It was refused, or no answer can be read.
        """

    @abstractmethod
    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        """Fetch one page of a list.

        Raises:
            OrgxError: It was refused, or no answer can be read.
        """

    def run_tool(self, tool: str, arguments: Mapping[str, Any]) -> Row:
        """Let OrgX run a tool; return its answer as it came, also one that says ``ok: false``.

        Raises:
            ConfigError: Nothing behind this door runs tools.
            OrgxError: It was refused, or no answer can be read.
        """
        raise ConfigError("Saved searches of memory take an API key (SOURCES__ORGX__API_KEY or ORGX_API_KEY)")

    def close(self) -> None:
        """Close what is open."""
        return
