"""PostgreSQL as a dlt destination that stores what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlt.common.destination import Destination
from dlt.destinations import postgres

if TYPE_CHECKING:
    from orgx_source.warehouse.postgres_copy import CopyClient


class postgres_exact(postgres):
    """PostgreSQL, filled through CSV files whether or not the ADBC driver is installed: that is the way we test.

    Attributes:
        patience: How long to wait for locks, added up; as the server is set when None.
    """

    patience: Any = None

    def client(self, schema: Any, initial_config: Any = None) -> Any:
        """Return a client as patient as this destination: dlt makes one for each job."""
        client: Any = super().client(schema, initial_config)
        client.sql_client.patience = self.patience
        return client

    @property
    def destination_type(self) -> str:
        """Return dlt's name of it: what a pipeline remembers, dlt's own tools can open."""
        return "dlt.destinations.postgres"

    def _raw_capabilities(self) -> Any:
        caps = super()._raw_capabilities()
        caps.supports_transactions = True
        caps.loader_file_format_selector = _without_parquet
        return caps

    @property
    def client_class(self) -> type[CopyClient]:
        """Return the client; needs the driver."""
        from orgx_source.warehouse.postgres_copy import CopyClient

        return CopyClient


def _without_parquet(preferred: Any, supported: Sequence[Any], /, *, table_schema: Any) -> tuple[Any, Sequence[Any]]:
    return preferred, [form for form in supported if form != "parquet"]


def exact(destination: str) -> Any:
    """Return dlt's destination of a name, PostgreSQL as one that stores what it is given.

    Args:
        destination: Name of a dlt destination, or of one in dlt's settings.
    """
    try:
        known = Destination.from_reference(destination)
    except Exception:
        # What is wrong with it, dlt says when it is used.
        return destination
    return postgres_exact(destination_name=destination) if type(known) is postgres else destination
