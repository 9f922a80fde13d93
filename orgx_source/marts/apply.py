"""Creates the marts in a warehouse, in one transaction, with comments on tables, views and columns."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from orgx_source.errors import OrgxError
from orgx_source.explain import first_words, foreseen
from orgx_source.marts import MARTS, RAW, Mart, load_marts, marts_in_order
from orgx_source.tables import (
    HISTORY_COLUMNS,
    SYNC_LOG,
    SYNC_LOG_COLUMNS,
    TABLES,
    WEBHOOK_EVENTS,
    WEBHOOK_EVENTS_COLUMNS,
    Column,
)
from orgx_source.version import __version__
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.dialect import Dialect, Namespace, dialect_of
from orgx_source.warehouse.sql_names import SqlName, names_in, replace
from orgx_source.warehouse.target import empty_dataset

SUFFIX = "_marts"
FINGERPRINT = "_orgx_marts"
RENDERERS = ("tables.py", "marts/__init__.py", "marts/apply.py", "warehouse/dialect.py", "warehouse/sql_names.py")


def raw_columns() -> dict[str, tuple[Column, ...]]:
    """Return the declared columns of every table that the connector writes, by name."""
    found: dict[str, tuple[Column, ...]] = {SYNC_LOG: SYNC_LOG_COLUMNS, WEBHOOK_EVENTS: WEBHOOK_EVENTS_COLUMNS}
    for table in TABLES.values():
        found[table.name] = table.stored_columns
        if table.keeps_history:
            found[table.history] = (*table.columns, *HISTORY_COLUMNS)
    return found


@dataclass(frozen=True)
class _Names:
    """Names of the tables and views in one database.

    Attributes:
        dialect: Its SQL dialect.
        raw, marts: The two datasets.
        present: Existing tables of the connector, with their columns.
    """

    dialect: Dialect
    raw: Namespace
    marts: Namespace
    present: Mapping[str, frozenset[str]]

    def query(self, mart: Mart) -> str:
        """Return the query of a view in this database's dialect."""
        sql = self.dialect.render(mart.sql)
        names = mart.names if sql == mart.sql else names_in(sql, self.dialect.name)
        return replace(sql, self._edits(names))

    def _edits(self, names: Iterable[SqlName]) -> Iterator[tuple[int, int, str]]:
        for name in names:
            dataset, table = name.parts[:2]
            if name.begins_with(RAW):
                yield dataset.start, table.end, self._source(table.name, has_alias=name.has_alias)
            elif name.begins_with(MARTS):
                yield dataset.start, table.end, self.marts.source(table.name)

    def _source(self, table: str, *, has_alias: bool) -> str:
        """Return a table as SQL, with nulls for missing columns, and without rows if it is missing."""
        declared, present = raw_columns()[table], self.present.get(table, frozenset())
        sql_type = self.dialect.sql_type
        missing = [f"cast(null as {sql_type(c.type)}) as {c.name}" for c in declared if c.name not in present]
        relation = self.raw.source(table)
        alias = "" if has_alias else f" as {table}"
        if not missing:
            return relation + (alias if self.raw.as_text else "")
        if present:
            inner = f"select *, {', '.join(missing)} from {relation}"
        else:
            inner = f"select {', '.join(missing)} where 1 = 0"
        return f"({inner}){alias}"

    def comments(self) -> Iterator[str]:
        """Yield the statements that describe tables, views and columns."""
        if not self.dialect.has_comments:
            return
        for name, columns in raw_columns().items():
            present = self.present.get(name)
            if present is not None:
                described = {c.name: c.description for c in columns if c.name in present}
                yield from self._comments("table", self.raw.table(name), _describe_table(name), described)
        for mart in marts_in_order():
            text = f"{mart.description} Grain: {mart.grain}. Key: {', '.join(mart.key)}."
            if mart.not_to_sum:
                text += f" Not to sum: {mart.not_to_sum}"
            yield from self._comments("view", self.marts.table(mart.name), text, mart.columns)

    def _comments(self, kind: str, name: str, text: str, columns: Mapping[str, str]) -> Iterator[str]:
        quote, literal = self.dialect.quote, self.dialect.literal
        yield f"comment on {kind} {name} is {literal(text)}"
        for column, description in columns.items():
            yield f"comment on column {name}.{quote(column)} is {literal(description)}"

    def fingerprint(self) -> str:
        """Return a fingerprint of everything that `statements` depends on, without building them."""
        present = {name: sorted(columns) for name, columns in sorted(self.present.items())}
        marts = [(mart.name, mart.header, mart.sql) for mart in load_marts().values()]
        return _digest([_renderer(), self.dialect.name, astuple(self.raw), astuple(self.marts), present, marts])

    def statements(self) -> list[str]:
        """Return the statements that create the marts, in order."""
        marts = marts_in_order()
        statements = [f"create schema if not exists {self.marts.path}"]
        statements += [f"drop view if exists {self.marts.table(mart.name)}" for mart in reversed(marts)]
        # Ends with a newline, because the last line of a query may be a comment.
        statements += [f"create view {self.marts.table(mart.name)} as {self.query(mart)}\n" for mart in marts]
        return [*statements, *self.comments()]


def apply_marts(warehouse: Warehouse) -> bool:
    """Create or update the views and comments of a dataset, if they differ from those of this version.

    Atomic. In a database without transactions for DDL, each view is replaced on its own, and rejected ones stay as they
    were.

    Returns:
        Whether anything was written.

    Raises:
        ConfigError: The destination does not support SQL, or denies permission to create them.
        DestinationError: The dataset is empty, or the destination cannot be reached.
        OrgxError: The destination rejects them, and a retry will not help: for example, another view depends on one of
            these.
    """
    warehouse.require_sql("there are no marts in it")
    with warehouse.kept_open():
        found = warehouse.columns_of(raw_columns())
        present = {name: frozenset(columns) for name, columns in found.items() if columns is not None}
        if not present:
            raise empty_dataset(warehouse.dataset)
        return warehouse.with_client(lambda client: _apply(client, present))


def marts_dataset(dataset: str) -> str:
    """Return the name of the dataset with the marts of a dataset."""
    return dataset + SUFFIX


def _apply(client: Any, present: Mapping[str, frozenset[str]]) -> bool:
    names = _names(client, present)
    stamp = names.marts.table(FINGERPRINT)
    stamped = _stamped(client, stamp)
    made_from = names.fingerprint()
    if made_from in stamped:
        return False
    statements = names.statements()
    made = _digest(statements)
    values = ", ".join(f"({names.dialect.literal(found)})" for found in (made_from, made))
    stamping = [
        f"drop table if exists {stamp}",
        f"create table {stamp} (fingerprint varchar(32))",
        f"insert into {stamp} values {values}",
    ]
    # If another version of this package made the same statements, the views stay: other views may depend on them.
    is_new = made not in stamped
    try:
        if client.capabilities.supports_ddl_transactions:
            with client.begin_transaction():
                # In one request: most statements are comments, and a distant server would need about 800 round trips.
                client.execute_many([*statements, *stamping] if is_new else stamping)
        else:
            if is_new:
                _replace_each(client, names)
            for statement in stamping:
                client.execute_sql(statement)
    except _RefusedViewsError as refused:
        raise type(refused.failure)(f"{refused} Fix that, then run orgx-sync marts.") from None
    except Exception as error:
        raise type(foreseen(error) or OrgxError())(
            f"the marts in {marts_dataset(client.dataset_name)} could not be created; the tables are not affected: "
            f"{first_words(error)} Fix that, then run orgx-sync marts."
        ) from None
    return is_new


class _RefusedViewsError(Exception):
    """The database rejected some views; all others were created."""

    def __init__(self, message: str, failure: OrgxError) -> None:
        super().__init__(message)
        self.failure = failure


def _replace_each(client: Any, names: _Names) -> None:
    """Replace the views one by one; a rejected one stays as it was.

    Raises:
        _RefusedViewsError: At least one was rejected.
    """
    queries = {mart.name: names.query(mart) for mart in marts_in_order()}
    client.execute_sql(f"create schema if not exists {names.marts.path}")
    refusals: dict[str, Exception] = {}
    for name, query in queries.items():
        try:
            _replace(client, names.marts, name, query)
        except Exception as error:
            refusals[name] = error
    for statement in names.comments():
        # The view may not exist.
        with suppress(Exception):
            client.execute_sql(statement)
    if refusals:
        told = "; ".join(f"{name}: {first_words(error)}" for name, error in refusals.items())
        failures = [foreseen(error) or OrgxError() for error in refusals.values()]
        raise _RefusedViewsError(
            f"{len(refusals)} of {len(queries)} marts in {marts_dataset(client.dataset_name)} could not be created and "
            f"are unchanged; the others and the tables are not affected: {told}",
            failures[0],
        )


def _replace(client: Any, marts: Namespace, name: str, query: str) -> None:
    view, trial = marts.table(name), marts.table(f"{name}_orgx_trial")
    try:
        client.execute_sql(f"create or replace view {view} as {query}\n")
    except Exception:
        # Some databases cannot replace a view, or not with different columns. The old view is dropped only after the
        # database has accepted the new query under another name.
        client.execute_sql(f"create view {trial} as {query}\n")
        client.execute_sql(f"drop view if exists {view}")
        client.execute_sql(f"create view {view} as {query}\n")
        client.execute_sql(f"drop view if exists {trial}")


def _stamped(client: Any, stamp: str) -> set[str]:
    """Return the fingerprints of the existing marts: of their statements, and of the input of those."""
    try:
        return {str(row[0]) for row in client.execute_sql(f"select fingerprint from {stamp}") or ()}
    except Exception:
        # The table does not exist yet. Any other error occurs again in the next statement.
        return set()


@lru_cache
def _renderer() -> str:
    """Return a fingerprint of the code that builds the statements, so that it needs no version number."""
    package = files("orgx_source")
    code = [path.read_text(encoding="utf-8") for path in map(package.joinpath, RENDERERS) if path.is_file()]
    return _digest([__version__, version("sqlglot"), code])


def _digest(document: Any) -> str:
    return hashlib.blake2b(json.dumps(document).encode(), digest_size=16).hexdigest()


def _names(client: Any, present: Mapping[str, frozenset[str]]) -> _Names:
    dialect = dialect_of(client)
    datasets = (client.dataset_name, marts_dataset(client.dataset_name))
    raw, marts = dialect.namespaces(client.catalog_name(quote=False), *datasets)
    return _Names(dialect, raw, marts, present)


def _describe_table(name: str) -> str:
    if name == SYNC_LOG:
        return "One row per table and run of orgx-sync run."
    if name == WEBHOOK_EVENTS:
        return "One row per event that orgx-sync listen received."
    table = TABLES[re.sub(r"_history$", "", name)]
    return f"Every observed version. {table.description}" if name == table.history else table.description
