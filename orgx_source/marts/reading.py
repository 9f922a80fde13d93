"""Rows of the marts as plain Python values, in the same form from DuckDB and any other destination with SQL.

The report reads the marts through this module; `charts` draws the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

from orgx_source.errors import DestinationError, OrgxError
from orgx_source.explain import first_words, foreseen
from orgx_source.marts.apply import marts_dataset
from orgx_source.rows.shape import canonical_json
from orgx_source.tables import Row as Row
from orgx_source.times import as_utc
from orgx_source.warehouse.dataset import Warehouse


class MartsReader:
    """Queries the marts; created by `read_marts`.

    Attributes:
        workspaces: Names of the workspaces that OrgX lists, sorted; empty if that table was never read.
    """

    def __init__(self, warehouse: Warehouse, dataset: str, workspaces: Sequence[str]) -> None:
        self._warehouse = warehouse
        self._marts = marts_dataset(dataset)
        self.workspaces = workspaces

    def rows(
        self,
        view: str,
        *,
        columns: Sequence[str] = (),
        where: str = "",
        values: Sequence[Any] = (),
        order_by: str = "",
        most: int | None = None,
    ) -> list[Row]:
        """Return rows of a view: times in UTC, dates, numbers as int or float, JSON as text.

        Args:
            view: Name of a mart.
            columns: Names of the columns; all by default.
            where: SQL condition that both DuckDB and PostgreSQL accept, with ``%s`` for each value.
            values: The values of these placeholders.
            order_by: SQL list of columns.
            most: Maximum number of rows; all by default.

        Raises:
            DestinationError: There is no such view yet, or it cannot be read.
        """
        sql = f"select {', '.join(columns) or '*'} from {{table}}"
        sql += f" where {where}" if where else ""
        sql += f" order by {order_by}" if order_by else ""
        try:
            return self._warehouse.with_client(lambda client: _fetch(client, self._marts, view, sql, values, most))
        except OrgxError:
            raise
        except Exception as error:
            raise self._explain(view, error) from None

    def _explain(self, view: str, error: Exception) -> OrgxError:
        if failure := foreseen(error):
            return failure
        names = {kind.__name__ for kind in type(error).__mro__}
        if "DestinationUndefinedEntity" in names:
            return DestinationError(
                f"There is no {self._marts}.{view} yet. orgx-sync run creates the marts; orgx-sync marts creates them "
                "without a sync."
            )
        text = first_words(error)
        return DestinationError(f"{self._marts}.{view} cannot be read; orgx-sync marts recreates it. {text}")


@contextmanager
def read_marts(pipeline: Any) -> Iterator[MartsReader]:
    """Read marts through one connection, in one snapshot if the destination supports it.

    Args:
        pipeline: From `make_pipeline`.

    Raises:
        ConfigError: The destination does not support SQL.
        DestinationError: It cannot be opened.
    """
    warehouse = Warehouse(pipeline)
    try:
        warehouse.require_sql("there are no marts in it")
        dataset = str(pipeline.dataset_name)
        with warehouse.kept_open():
            # Before the snapshot, because a query for a missing table aborts a transaction.
            workspaces = _workspaces(warehouse, dataset)
            with warehouse.snapshot():
                yield MartsReader(warehouse, dataset, workspaces)
    finally:
        warehouse.close()


def _workspaces(warehouse: Warehouse, dataset: str) -> list[str]:
    if not {"name", "deleted_at"} <= set(warehouse.columns("workspaces") or ()):
        return []
    sql = "select name from {table} where deleted_at is null and name is not null order by name"
    found = warehouse.with_client(lambda client: _fetch(client, dataset, "workspaces", sql, (), None))
    return [str(row["name"]) for row in found]


def _fetch(client: Any, dataset: str, table: str, sql: str, values: Sequence[Any], most: int | None) -> list[Row]:
    with client.with_alternative_dataset_name(dataset):
        name = client.make_qualified_table_name(table)
    with client.execute_query(sql.replace("{table}", name), *values) as cursor:
        names = [column[0].lower() for column in cursor.description]
        found = cursor.fetchall() if most is None else cursor.fetchmany(most)
        return [dict(zip(names, map(plain_value, row), strict=True)) for row in found]


def plain_value(value: Any) -> Any:
    """Return a value in the same form for every database: times in UTC, numbers as int or float, JSON as text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return as_utc(value)
    return canonical_json(value) if isinstance(value, list | dict) else value
