"""Loads OrgX into a warehouse with dlt: complete, de-duplicated reads, each with a verdict on its completeness.

::

    import dlt
    from orgx_source import orgx_source

    dlt.pipeline("orgx", destination="duckdb", dataset_name="orgx").run(orgx_source())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orgx_source.errors import OrgxError
from orgx_source.version import __version__

if TYPE_CHECKING:
    from orgx_source.api.client import OrgxClient
    from orgx_source.source import orgx_source

__all__ = ["OrgxClient", "OrgxError", "__version__", "orgx_source"]


def __getattr__(name: str) -> Any:
    """Import what needs dlt or httpx on first access, so that the command starts fast."""
    if name == "orgx_source":
        from orgx_source.source import orgx_source

        return orgx_source
    if name == "OrgxClient":
        from orgx_source.api.client import OrgxClient

        return OrgxClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
