"""The type of each column of a table, for values being read and for stored ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from orgx_source.tables import RESERVED, TRACKING_COLUMNS, ColumnType, Table


class ColumnTypes(Mapping[str, ColumnType]):
    """Column name to type: declared columns, change timestamps, and columns learnt from the rows.

    A learnt type is permanent: the first value determines the type of an undeclared column, in every database.

    Attributes:
        beside: Columns added by someone else; OrgX's values are kept in a separate text column.
        newly_beside: Those for which this starts with these rows.
    """

    def __init__(self, table: Table, columns: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Start with the declared types and those learnt by earlier runs.

        Args:
            table: The table.
            columns: Its columns in dlt's schema, name to hints.
        """
        self._declared: dict[str, ColumnType] = {c.name: c.type for c in (*table.columns, *TRACKING_COLUMNS)}
        self._learnt: dict[str, ColumnType] = {}
        self.beside: frozenset[str] = frozenset()
        self.newly_beside: list[str] = []
        for name, hints in (columns or {}).items():
            if name not in RESERVED and hints.get("data_type") in get_args(ColumnType):
                self.learn(name, hints["data_type"])

    def __getitem__(self, name: str) -> ColumnType:
        """Return the type of a column.

        Raises:
            KeyError: No row has had a value for it so far.
        """
        return self._declared[name] if self.is_declared(name) else self._learnt[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._declared
        yield from self._learnt

    def __len__(self) -> int:
        return len(self._declared) + len(self._learnt)

    def learn(self, name: str, column_type: ColumnType) -> None:
        """Record the type of a column, unless it has one."""
        if not self.is_declared(name):
            self._learnt.setdefault(name, column_type)

    def respect(self, foreign: Mapping[str, ColumnType | None]) -> None:
        """Record the columns that someone else has added to the table.

        Args:
            foreign: Column to its type; None for a type that loads never use.
        """
        self.beside = frozenset(name for name, column_type in foreign.items() if column_type is None)
        for name, column_type in foreign.items():
            if column_type is not None and name not in RESERVED:
                self.learn(name, column_type)

    def is_declared(self, name: str) -> bool:
        """Return whether a column is declared in `tables`."""
        return name in self._declared
