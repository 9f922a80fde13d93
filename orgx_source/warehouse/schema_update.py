"""Creates tables and columns table by table, so that an error names the table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dlt.destinations.job_client_impl import SqlJobClientBase

from orgx_source.errors import OrgxError, TableRefusedError
from orgx_source.explain import foreseen, root_cause, said


class UpdatesByTable(SqlJobClientBase):
    """Mixin for a destination's client; dlt itself sends the statements of all tables together."""

    def _execute_schema_update_sql(self, only_tables: Iterable[str], store_schema: bool = True) -> Any:
        updates: dict[str, Any] = {}
        for name, columns in list(self.get_storage_tables(only_tables or self.schema.tables.keys())):
            statements, update = self._build_schema_update_sql([(name, columns)])
            try:
                self.sql_client.execute_many(statements)
            except Exception as error:
                if isinstance(root_cause(error), OrgxError) or foreseen(error):
                    raise
                raise TableRefusedError(
                    name, f"The destination rejects the columns of {name}: {said(error)}"
                ) from error
            updates |= update
        if store_schema:
            self._update_schema_in_storage(self.schema)
        return updates
