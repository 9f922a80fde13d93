"""PostgreSQL as a dlt destination that keeps empty text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlt.common.destination import Destination
from dlt.destinations import postgres

if TYPE_CHECKING:
    from orgx_source.warehouse.postgres_copy import CopyClient


class postgres_exact(postgres):
    """PostgreSQL, loaded from CSV files even if the ADBC driver is installed, because that is the tested way.

    Attributes:
        patience: Total time to wait for locks; None uses the server's setting.
    """

    patience: Any = None

    def client(self, schema: Any, initial_config: Any = None) -> Any:
        """Return a client with this destination's lock timeout: dlt creates one per job."""
        client: Any = super().client(schema, initial_config)
        client.sql_client.patience = self.patience
        return client

    @property
    def destination_type(self) -> str:
        """Return dlt's own name, so that dlt's tools can open the pipeline."""
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
    """Return dlt's destination for a name; for PostgreSQL, the one that keeps empty text.

    Args:
        destination: Name of a dlt destination, or of one in dlt's settings.
    """
    try:
        known = Destination.from_reference(destination)
    except Exception:
        # dlt reports errors in it at the first use.
        return destination
    return postgres_exact(destination_name=destination) if type(known) is postgres else destination
