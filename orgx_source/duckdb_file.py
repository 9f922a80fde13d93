"""DuckDB, with table names that say which database they mean.

A file ``orgx.duckdb`` is the database ``orgx``, and DuckDB refuses the two-part name ``orgx.tasks`` when a schema is
called ``orgx`` too. dlt writes two-part names; here they get the third part. The defaults of this project are such a
pair.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlt.destinations import duckdb
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient


class _SqlClient(DuckDbSqlClient):
    def catalog_name(self, quote: bool = True, casefold: bool = True) -> str | None:
        name = Path(str(self.credentials.database)).name.partition(".")[0]
        if casefold:
            name = self.capabilities.casefold_identifier(name)
        return self.capabilities.escape_identifier(name) if quote else name


class _Client(DuckDbClient):
    def __init__(self, schema: Any, config: Any, capabilities: Any) -> None:
        super().__init__(schema, config, capabilities)
        plain = self.sql_client
        self.sql_client = _SqlClient(
            plain.dataset_name, plain.staging_dataset_name, plain.credentials, plain.capabilities
        )

    def initialize_storage(self, truncate_tables: Any = None) -> None:
        # Without dlt's warning that database and dataset have one name: that is what this class is for.
        super(DuckDbClient, self).initialize_storage(truncate_tables)


class duckdb_file(duckdb):
    """A DuckDB file as a dlt destination."""

    @property
    def client_class(self) -> type[DuckDbClient]:
        """Return the client that qualifies its names."""
        return _Client
