"""Webhooks: stores events from OrgX on disk, then reads and loads the rows they name within seconds.

An event is a hint: the rows loaded are those that OrgX returns for its ids. ``create_app`` is an ASGI application for
your own server; ``orgx-sync listen`` runs one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orgx_source.inbox.app import InboxApp

__all__ = ["create_app"]


def create_app(**settings: Any) -> InboxApp:
    """Return the ASGI application; see `orgx_source.inbox.service.create_app` for its settings.

    Raises:
        ConfigError: No secret is configured, or another setting is missing.
    """
    from orgx_source.inbox.service import create_app as create

    return create(**settings)
