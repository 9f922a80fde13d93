"""Webhooks: events from OrgX are kept on disk, then the rows that they name are read and loaded within seconds.

An event is a hint: what is loaded is what OrgX answers when it is asked for the rows. ``create_app`` is an ASGI
application for whoever runs a server of their own; ``orgx-sync listen`` runs one.
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
