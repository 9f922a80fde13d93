"""Differences between databases, one class each: quoting, types, transactions, views, cursors.

Only `dialect_of` determines the database. A new one is a class here, registered in `_DIALECTS`. dlt, sqlglot and
pyarrow are imported on demand: `status` reads a file without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orgx_source.tables import ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

# The marts are written in this dialect, restricted to what DuckDB also supports.
COMMON_GROUND = "postgres"
CURSOR = "orgx_export"
SQL_TYPES: dict[ColumnType, str] = {
    "text": "text",
    "bigint": "bigint",
    "double": "double precision",
    "bool": "boolean",
    "timestamp": "timestamptz",
    "date": "date",
    "json": "json",
}
# Types in information_schema that files also have; everything else is written as text, including JSON.
REPORTED_TYPES: dict[str, ColumnType] = {
    "text": "text",
    "varchar": "text",
    "character varying": "text",
    "tinyint": "bigint",
    "smallint": "bigint",
    "integer": "bigint",
    "bigint": "bigint",
    "real": "double",
    "float": "double",
    "double": "double",
    "double precision": "double",
    "boolean": "bool",
    "date": "date",
    # Without a zone it is UTC too: nothing else is written here.
    "timestamp": "timestamp",
    "timestamp with time zone": "timestamp",
    "timestamp without time zone": "timestamp",
}
MAX_DECIMAL_DIGITS = 38
# Names of the types that loads use for columns.
LOADED_TYPES: dict[str, ColumnType] = {
    "text": "text",
    "varchar": "text",
    "character varying": "text",
    "bigint": "bigint",
    "double": "double",
    "double precision": "double",
    "boolean": "bool",
    "date": "date",
    "timestamp with time zone": "timestamp",
    "json": "json",
    "jsonb": "json",
}
# Beginnings of the types that can hold a key or a hash, and a time; the first one is that of a load.
TEXT_KINDS: tuple[str, ...] = ("varchar", "character", "text", "uuid", "enum", "bpchar", "name")
TIME_KINDS: tuple[str, ...] = ("timestamp with time zone", "timestamp", "date")
_POSTGRES_LAYOUT = """
select relname, attname, format_type(atttypid, atttypmod), attgenerated <> '' or attidentity = 'a'
from pg_attribute join pg_class on pg_class.oid = attrelid join pg_namespace on pg_namespace.oid = relnamespace
where nspname = %s and attnum > 0 and not attisdropped and relkind in ('r', 'p', 'v', 'm', 'f')
order by relname, attnum
"""
_DUCKDB_LAYOUT = """
select table_name, column_name, lower(data_type), false from duckdb_columns()
where database_name = current_database() and schema_name = %s
order by table_name, column_index
"""
# A policy that allows a role everything on every row hides none.
_POSTGRES_HIDDEN = """
select relname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where nspname = %s and relkind in ('r', 'p') and row_security_active(pg_class.oid) and (
    not exists (
        select 1 from pg_policy
        where polrelid = pg_class.oid and polpermissive and polcmd = '*' and pg_get_expr(polqual, polrelid) = 'true'
            and (0 = any (polroles) or exists (select 1 from unnest(polroles) role where pg_has_role(role, 'usage')))
    )
    or exists (select 1 from pg_policy where polrelid = pg_class.oid and not polpermissive)
)
order by relname
"""

# Triggers before or instead of a write: bits 2 and 64; 4, 8 and 16 are the three statements.
_POSTGRES_TRIGGERS = """
select relname, 'trigger ' || tgname from pg_trigger join pg_class on pg_class.oid = tgrelid
    join pg_namespace on pg_namespace.oid = relnamespace
where nspname = %s and not tgisinternal and tgenabled <> 'D' and tgtype & 66 <> 0 and tgtype & 28 <> 0
union all
select relname, 'rule ' || rulename from pg_rewrite join pg_class on pg_class.oid = ev_class
    join pg_namespace on pg_namespace.oid = relnamespace
where nspname = %s and relkind in ('r', 'p') and ev_enabled <> 'D' and is_instead
order by 1, 2
"""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A dataset name for the SQL of a view.

    Attributes:
        path: Its quoted and qualified name.
        as_text: Whether its tables can only be named by a string, ``query_table('file.dataset.table')``.
    """

    path: str
    as_text: bool = False

    def table(self, name: str) -> str:
        """Return the qualified name of a table or view in it, for statements."""
        return f"{self.path}.{name}"

    def source(self, name: str) -> str:
        """Return the text after ``from`` in a view."""
        return f"query_table({Dialect.literal(self.table(name))})" if self.as_text else self.table(name)


class Dialect:
    """SQL of any database known to dlt and sqlglot only.

    Attributes:
        name: sqlglot's name of the dialect.
        has_comments: Whether ``comment on`` is supported for tables, views and columns.
        has_advisory_locks: Whether PostgreSQL's advisory locks are supported.
        isolation: Isolation level for one snapshot per transaction; None if every transaction has it, or none can.
        utc: Statement that sets a session, or a transaction, to UTC; None if unknown.
    """

    name = COMMON_GROUND
    has_comments = False
    has_advisory_locks = False
    isolation: str | None = None
    utc: str | None = None

    def __init__(self, capabilities: Any = None) -> None:
        self._capabilities = capabilities
        if capabilities is not None and capabilities.sqlglot_dialect:
            self.name = str(capabilities.sqlglot_dialect)

    def is_reserved(self, dataset: str) -> bool:
        """Return whether the database reserves the name of a dataset."""
        return False

    def layout(self, client: Any, dataset: str) -> list[tuple[str, str, str, bool]] | None:
        """Return table, column, its type and whether it is generated, of all tables and views of a dataset, in order.

        None if one query cannot return this.
        """
        return None

    def hidden_tables(self, client: Any, dataset: str) -> list[str]:
        """Return the tables of a dataset in which this role may not see every row."""
        return []

    def triggers(self, client: Any, dataset: str) -> list[tuple[str, str]]:
        """Return tables of a dataset, and what changes or drops rows written to them."""
        return []

    def quote(self, name: str) -> str:
        """Return a quoted name."""
        return str(self._capabilities.escape_identifier(name))

    def epoch(self, column: str) -> str:
        """Return the SQL that reads a time as seconds since 1970; here the time itself, which the caller converts.

        Args:
            column: Quoted column name.
        """
        return column

    def hex_number(self, digits: str) -> str | None:
        """Return the SQL that reads 15 hexadecimal digits as a number; None if unknown.

        Args:
            digits: The expression.
        """
        return None

    @staticmethod
    def literal(text: str) -> str:
        """Return a text as an SQL literal."""
        return "'" + text.replace("'", "''") + "'"

    def render(self, sql: str) -> str:
        """Translate SQL in the common subset of DuckDB and PostgreSQL to this dialect."""
        import sqlglot

        return sqlglot.transpile(sql, read=COMMON_GROUND, write=self.name)[0]

    def sql_type(self, column_type: ColumnType) -> str:
        """Return the SQL name of a type."""
        import sqlglot

        return sqlglot.exp.DataType.build(SQL_TYPES[column_type], dialect=COMMON_GROUND).sql(self.name)

    def arrow_type(self, reported: str, precision: int | None, scale: int | None) -> tuple[pa.DataType, str | None]:
        """Return the type of a column in a file, and the type to cast it to in SQL first, if any.

        Args:
            reported: Its type in ``information_schema.columns``.
            precision: Digits of a number, also from there.
            scale: Digits after the decimal point.
        """
        import pyarrow as pa

        from orgx_source.rows.shape import ARROW_TYPES

        kind = reported.lower()
        if kind in REPORTED_TYPES:
            return ARROW_TYPES[REPORTED_TYPES[kind]], None
        if kind.startswith(("numeric", "decimal")):
            if precision is not None and precision <= MAX_DECIMAL_DIGITS:
                return pa.decimal128(precision, scale or 0), None
            return pa.float64(), "double precision"
        return pa.string(), "varchar"

    def namespaces(self, catalog: str | None, *datasets: str) -> list[Namespace]:
        """Return how views name the tables of datasets in one database.

        Args:
            catalog: Name of the database; None if two-part names are enough.
            datasets: Names of the datasets.
        """
        prefix = "" if catalog is None else f"{self.quote(catalog)}."
        return [Namespace(prefix + self.quote(name)) for name in datasets]

    def replace_view(self, client: Any, view: str, select: str, table: str) -> Sequence[str]:
        """Return the statements that create a view, or replace one that lacks the last columns.

        Args:
            client: dlt's SQL client.
            view: Name of the view.
            select: The text before ``from``.
            table: Name of its table, in the same dataset.
        """
        path = client.make_qualified_table_name(view)
        return [f"create or replace view {path} as select {select} from {self._beside(client, table)}"]

    def _beside(self, client: Any, table: str) -> str:
        return str(client.make_qualified_table_name(table))

    def as_loaded(self, column: str, column_type: ColumnType) -> str:
        """Return the SQL that reads a stored value so that the driver neither parses nor shifts it.

        Args:
            column: Quoted column name.
            column_type: The type it was loaded with.
        """
        return column

    def clashing_file(self, client: Any) -> str | None:
        """Return the name of a file whose tables cannot be named because a schema has the same name."""
        return None

    @contextmanager
    def snapshot(self, client: Any) -> Iterator[None]:
        """Read one snapshot, in one transaction: a concurrent load appears in all results or in none.

        Its times are UTC, whatever the settings of the server, the role or this machine.
        """
        if not client.capabilities.supports_ddl_transactions:
            self._tell_utc(client)
            yield
            return
        with client.begin_transaction():
            if self.isolation:
                client.execute_sql(f"set transaction isolation level {self.isolation}")
            self._tell_utc(client)
            yield

    def _tell_utc(self, client: Any) -> None:
        if self.utc:
            client.execute_sql(self.utc)  # guard: a-reader-s-clock-changes-no-number

    def read_batches(self, client: Any, sql: str, schema: pa.Schema, rows_at_once: int) -> Iterator[pa.Table]:
        """Yield the result of a query in batches.

        Args:
            client: dlt's SQL client.
            sql: The query.
            schema: Names and types of the columns, in the order of the query.
            rows_at_once: Maximum rows per batch.
        """
        with client.execute_query(sql) as cursor:
            for rows in cursor.iter_fetch(chunk_size=rows_at_once):
                yield _arrow_table(rows, schema)


class _AsWritten(Dialect):
    """A database that accepts the common subset unchanged, with standard quoting."""

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def render(self, sql: str) -> str:
        return sql

    def sql_type(self, column_type: ColumnType) -> str:
        return SQL_TYPES[column_type]

    def as_loaded(self, column: str, column_type: ColumnType) -> str:
        # In a session's time zone, years 1 and 9999 can exceed the range of Python.
        return f"{column} at time zone 'UTC'" if column_type == "timestamp" else column


class Postgres(_AsWritten):
    """PostgreSQL."""

    has_comments = True
    has_advisory_locks = True
    isolation = "repeatable read, read only"
    # For the transaction only: a connection pool reuses the session.
    utc = "set local timezone = 'UTC'"

    def is_reserved(self, dataset: str) -> bool:
        """Return whether the database reserves the name of a dataset."""
        return dataset.startswith("pg_") or dataset == "information_schema"

    def layout(self, client: Any, dataset: str) -> list[tuple[str, str, str, bool]] | None:
        """Return table, column, its type and whether it is generated, of all tables and views of a dataset."""
        return client.execute_sql(_POSTGRES_LAYOUT, dataset) or []

    def hidden_tables(self, client: Any, dataset: str) -> list[str]:
        """Return the tables in which row-level security hides rows from this role, according to the policies."""
        return [row[0] for row in client.execute_sql(_POSTGRES_HIDDEN, dataset) or ()]

    def triggers(self, client: Any, dataset: str) -> list[tuple[str, str]]:
        """Return tables of a dataset, and the triggers and rules on writes to them."""
        return [(row[0], row[1]) for row in client.execute_sql(_POSTGRES_TRIGGERS, dataset, dataset) or ()]

    def epoch(self, column: str) -> str:
        """Return the SQL that reads a time as seconds since 1970."""
        return f"extract(epoch from {column})"

    def hex_number(self, digits: str) -> str:
        """Return the SQL that reads 15 hexadecimal digits as a number."""
        return f"cast(cast('x' || {digits} as bit(60)) as bigint)"

    def sql_type(self, column_type: ColumnType) -> str:
        """Return the SQL name of a type."""
        return "jsonb" if column_type == "json" else super().sql_type(column_type)

    def as_loaded(self, column: str, column_type: ColumnType) -> str:
        """Return JSON as text: psycopg2 unwraps a JSON string, and the result is not JSON."""
        return f"cast({column} as text)" if column_type == "json" else super().as_loaded(column, column_type)

    def read_batches(self, client: Any, sql: str, schema: pa.Schema, rows_at_once: int) -> Iterator[pa.Table]:
        """Yield the result of a query through a server-side cursor: psycopg2 fetches everything otherwise."""
        client.execute_sql(f"declare {CURSOR} no scroll cursor for {sql}")
        while rows := client.execute_sql(f"fetch forward {rows_at_once} from {CURSOR}"):
            yield _arrow_table(rows, schema)
        client.execute_sql(f"close {CURSOR}")


class Redshift(Dialect):
    """Amazon Redshift."""

    has_comments = True
    utc = "set timezone to 'UTC'"


class DuckDB(_AsWritten):
    """DuckDB, in any form."""

    name = "duckdb"
    has_comments = True
    utc = "set timezone = 'UTC'"

    def is_reserved(self, dataset: str) -> bool:
        """Return whether the database reserves the name of a dataset."""
        return dataset in ("temp", "system", "information_schema", "pg_catalog")

    def epoch(self, column: str) -> str:
        """Return the SQL that reads a time as seconds since 1970."""
        return f"epoch({column})"

    def hex_number(self, digits: str) -> str:
        """Return the SQL that reads 15 hexadecimal digits as a number."""
        return f"cast('0x' || {digits} as bigint)"

    def arrow_type(self, reported: str, precision: int | None, scale: int | None) -> tuple[pa.DataType, str | None]:
        """Return the type in a file, and the one to cast to first."""
        if reported.lower() == "hugeint":
            # The type of a sum of integers.
            precision, scale = MAX_DECIMAL_DIGITS, 0
            kind, _ = super().arrow_type("decimal", precision, scale)
            return kind, f"decimal({precision}, {scale})"
        return super().arrow_type(reported, precision, scale)

    def namespaces(self, catalog: str | None, *datasets: str) -> list[Namespace]:
        """Return how views name the tables of datasets in one database.

        DuckDB 2.0 removes the database from names in a view, and then rejects the rest if a dataset has the same name;
        names in strings are unchanged. Otherwise two parts are enough, and a view with two-part names survives a copy
        of the file under another name.
        """
        if catalog is None or catalog.lower() not in map(str.lower, datasets):
            return super().namespaces(None, *datasets)
        return [Namespace(found.path, as_text=True) for found in super().namespaces(catalog, *datasets)]


class DuckDBFile(DuckDB):
    """DuckDB in this process."""

    def _beside(self, client: Any, table: str) -> str:
        # A view finds tables of its own schema by their bare names, even if file and schema have the same name.
        return self.quote(table)

    def layout(self, client: Any, dataset: str) -> list[tuple[str, str, str, bool]] | None:
        """Return table, column, its type and whether it is generated, of all tables and views of a dataset."""
        return client.execute_sql(_DUCKDB_LAYOUT, dataset) or []

    def clashing_file(self, client: Any) -> str | None:
        """Return the name of a file named like a schema that the client does not qualify: its dataset, or DuckDB's."""
        file = Path(str(getattr(client.credentials, "database", "")))
        stem = file.name.partition(".")[0].lower()
        clashes = stem == client.dataset_name.lower() and client.catalog_name() is None
        # dlt and others query this schema without naming the database.
        return file.name if clashes or stem == "information_schema" else None  # guard: file-named-like-a-schema

    def read_batches(self, client: Any, sql: str, schema: pa.Schema, rows_at_once: int) -> Iterator[pa.Table]:
        """Yield the result of a query, as Arrow from the start."""
        import pyarrow as pa

        relation = client.native_connection.sql(sql)
        # Renamed in DuckDB 1.5.
        reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        for batch in reader(rows_at_once):
            yield pa.Table.from_batches([batch]).rename_columns(schema.names).cast(schema)


DUCKDB_FILE = DuckDBFile()
_DIALECTS: dict[str, type[Dialect]] = {"duckdb": DuckDB, "postgres": Postgres, "redshift": Redshift}


def dialect_of(client: Any) -> Dialect:
    """Return the dialect of the database behind dlt's SQL client."""
    # MotherDuck and dlt's file system also use DuckDB, with their own clients.
    if "duckdb" in type(client).__module__:
        return DUCKDB_FILE
    return _DIALECTS.get(str(client.capabilities.sqlglot_dialect), Dialect)(client.capabilities)


def _arrow_table(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
    )
