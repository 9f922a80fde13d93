"""Puts the marts into a warehouse: names and dialect, one transaction, and the comments that say what is what."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orgx_source.errors import DestinationError
from orgx_source.explain import first_words, foreseen
from orgx_source.marts import MART, RAW, Mart, load_marts
from orgx_source.tables import (
    HISTORY_COLUMNS,
    SYNC_LOG,
    SYNC_LOG_COLUMNS,
    TABLES,
    TRACKING_COLUMNS,
    Column,
    ColumnType,
)
from orgx_source.warehouse.dataset import Warehouse

SUFFIX = "_marts"
FINGERPRINT = "_orgx_marts"
# Written for these two as they are; sqlglot translates for the others.
COMMON_GROUND = ("duckdb", "postgres")
COMMENTS_ON = ("duckdb", "postgres", "redshift")
SQL_TYPES: dict[ColumnType, str] = {
    "text": "text",
    "bigint": "bigint",
    "double": "double precision",
    "bool": "boolean",
    "timestamp": "timestamptz",
    "date": "date",
    "json": "json",
}


def raw_columns() -> dict[str, tuple[Column, ...]]:
    """Return the declared columns of every table that the connector writes, by name."""
    found: dict[str, tuple[Column, ...]] = {SYNC_LOG: SYNC_LOG_COLUMNS}
    for table in TABLES.values():
        tracking = TRACKING_COLUMNS[:1] if table.append_only else TRACKING_COLUMNS
        found[table.name] = (*table.columns, *tracking)
        if table.keeps_history:
            found[table.history] = (*table.columns, *HISTORY_COLUMNS)
    return found


@dataclass(frozen=True)
class _Names:
    """How the tables and views of one database are called.

    Attributes:
        dialect: sqlglot's name of its SQL.
        raw, marts: The two datasets, quoted and qualified.
        present: Columns of each table of the connector that exists.
        ambiguous: Whether DuckDB's file is called like one of the datasets.
    """

    dialect: str
    raw: str
    marts: str
    present: Mapping[str, frozenset[str]]
    ambiguous: bool = False

    def query(self, mart: Mart) -> str:
        """Return the query of a view in this database's SQL."""
        if self.dialect in COMMON_GROUND:
            sql = mart.sql
        else:
            import sqlglot

            sql = sqlglot.transpile(mart.sql, read="postgres", write=self.dialect)[0]
        sql = RAW.sub(lambda found: self._source(found[1], found[2]), sql)
        return MART.sub(lambda found: self._relation(self.marts, found[1]), sql)

    def _relation(self, dataset: str, name: str) -> str:
        # DuckDB 2.0 takes the database out of the names in a view, and then refuses what is left as ambiguous; it
        # leaves a name alone that is a text.
        full = f"{dataset}.{name}"
        return f"query_table({_literal(full)})" if self.ambiguous else full

    def _source(self, table: str, alias: str | None) -> str:
        """Return a table, with nulls in place of what an older or smaller warehouse does not have."""
        declared, present = raw_columns()[table], self.present.get(table, frozenset())
        missing = [f"cast(null as {self._type(c.type)}) as {c.name}" for c in declared if c.name not in present]
        relation = self._relation(self.raw, table)
        if not missing:
            return relation + (alias or (f" as {table}" if self.ambiguous else ""))
        if present:
            inner = f"select *, {', '.join(missing)} from {relation}"
        else:
            inner = f"select {', '.join(missing)} where 1 = 0"
        return f"({inner}){alias or f' as {table}'}"

    def _type(self, kind: ColumnType) -> str:
        if kind == "json" and self.dialect == "postgres":
            return "jsonb"
        if self.dialect in COMMON_GROUND:
            return SQL_TYPES[kind]
        import sqlglot

        return sqlglot.exp.DataType.build(SQL_TYPES[kind], dialect="postgres").sql(self.dialect)

    def comments(self) -> Iterator[str]:
        """Yield the statements that describe tables, views and columns."""
        if self.dialect not in COMMENTS_ON:
            return
        for name, columns in raw_columns().items():
            present = self.present.get(name)
            if present is not None:
                described = {c.name: c.description for c in columns if c.name in present}
                yield from self._comments("table", f"{self.raw}.{name}", _describe_table(name), described)
        for mart in load_marts().values():
            text = f"{mart.description} Grain: {mart.grain}. Key: {', '.join(mart.key)}."
            if mart.not_to_sum:
                text += f" Not to sum: {mart.not_to_sum}"
            yield from self._comments("view", f"{self.marts}.{mart.name}", text, mart.columns)

    def _comments(self, kind: str, name: str, text: str, columns: Mapping[str, str]) -> Iterator[str]:
        yield f"comment on {kind} {name} is {_literal(text)}"
        for column, description in columns.items():
            yield f'comment on column {name}."{column}" is {_literal(description)}'

    def statements(self) -> list[str]:
        """Return everything that makes the marts, in order."""
        marts = list(load_marts().values())
        statements = [f"create schema if not exists {self.marts}"]
        statements += [f"drop view if exists {self.marts}.{mart.name}" for mart in reversed(marts)]
        statements += [f"create view {self.marts}.{mart.name} as {self.query(mart)}" for mart in marts]
        return [*statements, *self.comments()]


def apply_marts(warehouse: Warehouse) -> bool:
    """Make the views and comments of a dataset what this version says; all of them, or none.

    Nothing is written when they are that already.

    Returns:
        Whether anything was written.

    Raises:
        ConfigError: The destination answers no SQL, or gives no right to make them.
        DestinationError: It holds nothing yet, or refuses, such as when a view of somebody else needs one of these.
    """
    warehouse.require_sql("there are no marts in it")
    with warehouse.kept_open():
        found = {name: warehouse.columns(name) for name in raw_columns()}
        present = {name: frozenset(columns) for name, columns in found.items() if columns is not None}
        if not present:
            raise DestinationError(f"The dataset {warehouse.dataset} holds nothing yet; orgx-sync run fills it.")
        return warehouse.with_client(lambda client: _apply(client, present))


def marts_dataset(dataset: str) -> str:
    """Return the name of the dataset that holds the marts of another one."""
    return dataset + SUFFIX


def _apply(client: Any, present: Mapping[str, frozenset[str]]) -> bool:
    names = _names(client, present)
    statements = names.statements()
    fingerprint = hashlib.blake2b(json.dumps(statements).encode(), digest_size=16).hexdigest()
    stamp = f"{names.marts}.{FINGERPRINT}"
    if _stamped(client, stamp) == fingerprint:
        return False
    statements += [
        f"drop table if exists {stamp}",
        f"create table {stamp} (fingerprint varchar(32))",
        f"insert into {stamp} values ({_literal(fingerprint)})",
    ]
    try:
        if client.capabilities.supports_ddl_transactions:
            with client.begin_transaction():
                # At one go: most of them are comments, and a server far away would be asked eight hundred times.
                client.execute_many(statements)
        else:
            for statement in statements:
                client.execute_sql(statement)
    except Exception as error:
        raise type(foreseen(error) or DestinationError())(
            f"the marts in {marts_dataset(client.dataset_name)} could not be made, the tables are fine: "
            f"{first_words(error)} Mend that, then run orgx-sync marts."
        ) from None
    return True


def _stamped(client: Any, stamp: str) -> str | None:
    try:
        rows = client.execute_sql(f"select fingerprint from {stamp}")
    except Exception:
        # There is none yet; whatever else is wrong with the database, the next statement says it.
        return None
    return str(rows[0][0]) if rows else None


def _names(client: Any, present: Mapping[str, frozenset[str]]) -> _Names:
    quote = client.capabilities.escape_identifier
    raw, marts = client.dataset_name, marts_dataset(client.dataset_name)
    dialect = str(client.capabilities.sqlglot_dialect or "postgres")
    catalog = client.catalog_name(quote=False)
    ambiguous = dialect == "duckdb" and catalog is not None and catalog.lower() in (raw.lower(), marts.lower())
    if dialect == "duckdb" and not ambiguous:
        # Two parts are enough, and views with two parts survive when the file is copied under another name.
        catalog = None
    prefix = "" if catalog is None else f"{quote(catalog)}."
    return _Names(dialect, f"{prefix}{quote(raw)}", f"{prefix}{quote(marts)}", present, ambiguous)


def _describe_table(name: str) -> str:
    if name == SYNC_LOG:
        return "One row per table and run of orgx-sync run."
    table = TABLES[re.sub(r"_history$", "", name)]
    return f"Every version that was seen. {table.description}" if name == table.history else table.description


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
