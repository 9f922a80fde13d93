"""Puts the marts into a warehouse: names and dialect, one transaction, and the comments that say what is what."""

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

from orgx_source.errors import DestinationError, OrgxError
from orgx_source.explain import first_words, foreseen
from orgx_source.marts import MARTS, RAW, Mart, load_marts, marts_in_order
from orgx_source.tables import (
    HISTORY_COLUMNS,
    SYNC_LOG,
    SYNC_LOG_COLUMNS,
    TABLES,
    TRACKING_COLUMNS,
    WEBHOOK_EVENTS,
    WEBHOOK_EVENTS_COLUMNS,
    Column,
)
from orgx_source.version import __version__
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.dialect import Dialect, Namespace, dialect_of
from orgx_source.warehouse.sql_names import SqlName, names_in, replace

SUFFIX = "_marts"
FINGERPRINT = "_orgx_marts"
RENDERERS = ("tables.py", "marts/__init__.py", "marts/apply.py", "warehouse/dialect.py", "warehouse/sql_names.py")


def raw_columns() -> dict[str, tuple[Column, ...]]:
    """Return the declared columns of every table that the connector writes, by name."""
    found: dict[str, tuple[Column, ...]] = {SYNC_LOG: SYNC_LOG_COLUMNS, WEBHOOK_EVENTS: WEBHOOK_EVENTS_COLUMNS}
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
        dialect: Its SQL.
        raw, marts: The two datasets.
        present: Columns of each table of the connector that exists.
    """

    dialect: Dialect
    raw: Namespace
    marts: Namespace
    present: Mapping[str, frozenset[str]]

    def query(self, mart: Mart) -> str:
        """Return the query of a view in this database's SQL."""
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
        """Return a table, with nulls in place of what an older or smaller warehouse does not have."""
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
        """Return what tells whether `statements` would be the same, without making them."""
        present = {name: sorted(columns) for name, columns in sorted(self.present.items())}
        marts = [(mart.name, mart.header, mart.sql) for mart in load_marts().values()]
        return _digest([_renderer(), self.dialect.name, astuple(self.raw), astuple(self.marts), present, marts])

    def statements(self) -> list[str]:
        """Return everything that makes the marts, in order."""
        marts = marts_in_order()
        statements = [f"create schema if not exists {self.marts.path}"]
        statements += [f"drop view if exists {self.marts.table(mart.name)}" for mart in reversed(marts)]
        # Ended by a line of its own: the last one of a query may be a comment.
        statements += [f"create view {self.marts.table(mart.name)} as {self.query(mart)}\n" for mart in marts]
        return [*statements, *self.comments()]


def apply_marts(warehouse: Warehouse) -> bool:
    """Make the views and comments of a dataset what this version says.

    All of them or none; where a database has no transactions for that, each view that is not refused. Nothing is
    written when they are that already.

    Returns:
        Whether anything was written.

    Raises:
        ConfigError: The destination does not support SQL, or denies permission to create them.
        DestinationError: It is empty, or cannot be reached.
        OrgxError: It refuses, and will each time, for example if someone else's view depends on one of these.
    """
    warehouse.require_sql("there are no marts in it")
    with warehouse.kept_open():
        found = warehouse.columns_of(raw_columns())
        present = {name: frozenset(columns) for name, columns in found.items() if columns is not None}
        if not present:
            raise DestinationError(f"The dataset {warehouse.dataset} is empty; orgx-sync run fills it.")
        return warehouse.with_client(lambda client: _apply(client, present))


def marts_dataset(dataset: str) -> str:
    """Return the name of the dataset that holds the marts of another one."""
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
    # Another version of this package that says the same leaves the views alone: somebody else's may need them.
    is_new = made not in stamped
    try:
        if client.capabilities.supports_ddl_transactions:
            with client.begin_transaction():
                # At one go: most of them are comments, and a server far away would be asked eight hundred times.
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
            f"the marts in {marts_dataset(client.dataset_name)} could not be created; the tables are fine: "
            f"{first_words(error)} Fix that, then run orgx-sync marts."
        ) from None
    return is_new


class _RefusedViewsError(Exception):
    """Some views were refused, and all others are made."""

    def __init__(self, message: str, failure: OrgxError) -> None:
        super().__init__(message)
        self.failure = failure


def _replace_each(client: Any, names: _Names) -> None:
    """Replace the views one by one, so that each that is refused stays as it was.

    Raises:
        _RefusedViewsError: Some are.
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
        # Of a view that is not there, perhaps.
        with suppress(Exception):
            client.execute_sql(statement)
    if refusals:
        told = "; ".join(f"{name}: {first_words(error)}" for name, error in refusals.items())
        failures = [foreseen(error) or OrgxError() for error in refusals.values()]
        raise _RefusedViewsError(
            f"{len(refusals)} of {len(queries)} marts in {marts_dataset(client.dataset_name)} could not be created and "
            f"are unchanged; the others and the tables are fine: {told}",
            failures[0],
        )


def _replace(client: Any, marts: Namespace, name: str, query: str) -> None:
    view, trial = marts.table(name), marts.table(f"{name}_orgx_trial")
    try:
        client.execute_sql(f"create or replace view {view} as {query}\n")
    except Exception:
        # Some databases cannot replace a view, or none that gets other columns. What they take under another name,
        # they take under its own; only then is the old one dropped.
        client.execute_sql(f"create view {trial} as {query}\n")
        client.execute_sql(f"drop view if exists {view}")
        client.execute_sql(f"create view {view} as {query}\n")
        client.execute_sql(f"drop view if exists {trial}")


def _stamped(client: Any, stamp: str) -> set[str]:
    """Return the fingerprints of the marts that are there: of their statements, and of what those were made from."""
    try:
        return {str(row[0]) for row in client.execute_sql(f"select fingerprint from {stamp}") or ()}
    except Exception:
        # There is none yet; whatever else is wrong with the database, the next statement says it.
        return set()


@lru_cache
def _renderer() -> str:
    """Return a fingerprint of the code that makes the statements: nobody has to count its versions."""
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
