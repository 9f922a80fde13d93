"""What each database's SQL is like, told by its class; DuckDB and PostgreSQL say themselves whether that is so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from orgx_source.sandbox import Sandbox, World
from orgx_source.tables import ColumnType
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.dialect import (
    DUCKDB_FILE,
    SQL_TYPES,
    Dialect,
    DuckDB,
    DuckDBFile,
    Postgres,
    Redshift,
    dialect_of,
)
from tests.running import execute, pipeline, sync

ODD_NAMES = ["plain", "Two Words", 'a "quoted" one', "semi;colon", "it's", "ünï.code"]


def client(dialect: str, module: str = "dlt.destinations.impl.some.sql_client") -> Any:
    """Return as much of a client of dlt's as tells which database it is for."""
    capabilities = SimpleNamespace(sqlglot_dialect=dialect, escape_identifier=lambda name: f"`{name}`")
    return type("Client", (), {"__module__": module, "capabilities": capabilities})()


@pytest.mark.parametrize(
    ("dialect", "module", "kind"),
    [
        ("duckdb", "dlt.destinations.impl.duckdb.sql_client", DuckDBFile),
        ("duckdb", "orgx_source.warehouse.duckdb_file", DuckDBFile),
        ("duckdb", "dlt.destinations.impl.motherduck.sql_client", DuckDB),
        ("duckdb", "dlt.destinations.impl.filesystem.sql_client", DuckDB),
        ("postgres", "dlt.destinations.impl.postgres.sql_client", Postgres),
        ("redshift", "dlt.destinations.impl.redshift.sql_client", Redshift),
        ("snowflake", "dlt.destinations.impl.snowflake.sql_client", Dialect),
    ],
)
def test_a_client_says_which_database_it_is_for(dialect: str, module: str, kind: type[Dialect]) -> None:
    found = dialect_of(client(dialect, module))
    assert type(found) is kind
    assert found.name == dialect


def test_of_any_other_database_sqlglot_and_dlt_know_enough() -> None:
    bigquery = dialect_of(client("bigquery"))
    assert bigquery.quote("tasks") == "`tasks`"
    assert bigquery.render("select cast(a as text) from t") == "SELECT CAST(a AS STRING) FROM t"
    assert bigquery.sql_type("bigint") == "INT64"
    assert [found.table("tasks") for found in bigquery.namespaces("project", "orgx")] == ["`project`.`orgx`.tasks"]
    assert not bigquery.has_comments and bigquery.isolation is None


@pytest.mark.parametrize("dialect", [DUCKDB_FILE, Postgres()])
def test_these_two_take_the_common_ground_as_it_is_written(dialect: Dialect) -> None:
    sql = "select x::text  -- kept\nfrom t"
    assert dialect.render(sql) == sql
    assert dialect.quote('a"b') == '"a""b"'
    assert dialect.literal("it's") == "'it''s'"


@pytest.mark.parametrize(
    ("catalog", "path", "source"),
    [
        (None, '"orgx".tasks', '"orgx".tasks'),
        ("x", '"orgx".tasks', '"orgx".tasks'),
        ("ORGX", '"ORGX"."orgx".tasks', """query_table('"ORGX"."orgx".tasks')"""),
        ("orgx_marts", '"orgx_marts"."orgx".tasks', """query_table('"orgx_marts"."orgx".tasks')"""),
    ],
)
def test_a_view_in_duckdb_names_its_database_only_where_it_must(catalog: str | None, path: str, source: str) -> None:
    raw, _ = DuckDB().namespaces(catalog, "orgx", "orgx_marts")
    assert (raw.table("tasks"), raw.source("tasks")) == (path, source)


@pytest.mark.parametrize(
    ("reported", "precision", "kind", "cast"),
    [
        ("TIMESTAMP WITH TIME ZONE", None, pa.timestamp("us", "UTC"), None),
        ("numeric", 12, pa.decimal128(12, 2), None),
        ("DECIMAL(12,2)", 12, pa.decimal128(12, 2), None),
        ("numeric", None, pa.float64(), "double precision"),
        ("numeric", 60, pa.float64(), "double precision"),
        ("jsonb", None, pa.string(), "varchar"),
        ("STRUCT(a INTEGER)", None, pa.string(), "varchar"),
    ],
)
def test_a_reported_type_has_one_in_a_file(
    reported: str, precision: int | None, kind: pa.DataType, cast: str | None
) -> None:
    for dialect in (DUCKDB_FILE, Postgres()):
        assert dialect.arrow_type(reported, precision, 2) == (kind, cast)


def test_only_duckdb_sums_whole_numbers_to_larger_ones() -> None:
    assert DUCKDB_FILE.arrow_type("HUGEINT", 128, 0) == (pa.decimal128(38, 0), "decimal(38, 0)")
    assert Postgres().arrow_type("hugeint", None, None) == (pa.string(), "varchar")


def test_the_file_that_is_called_like_its_dataset_is_told_from_others() -> None:
    def clash(file: str, catalog: str | None) -> str | None:
        return DUCKDB_FILE.clashing_file(
            SimpleNamespace(
                credentials=SimpleNamespace(database=file), dataset_name="orgx", catalog_name=lambda: catalog
            )
        )

    assert clash("/data/ORGX.duckdb", None) == "ORGX.duckdb"
    assert clash("/data/orgx.duckdb", '"orgx"') is None
    assert clash("/data/x.duckdb", None) is None
    assert clash("/data/Information_Schema.duckdb", '"information_schema"') == "Information_Schema.duckdb"
    assert Postgres().clashing_file(SimpleNamespace()) is None


def test_databases_understand_the_names_texts_and_types_that_they_are_given(each_warehouse: str) -> None:
    execute('create schema "orgx"')
    warehouse = Warehouse(pipeline())
    try:
        warehouse.with_client(_try_names_and_types)
    finally:
        warehouse.close()


def _try_names_and_types(client: Any) -> None:
    dialect = dialect_of(client)
    texts = ", ".join(f"{dialect.literal(name)} as {dialect.quote(name)}" for name in ODD_NAMES)
    with client.execute_query(f"select {texts}") as cursor:
        assert list(cursor.fetchall()[0]) == [column[0] for column in cursor.description] == ODD_NAMES
    types: list[ColumnType] = list(SQL_TYPES)
    nulls = ", ".join(f"cast(null as {dialect.sql_type(kind)}) as {dialect.quote(kind)}" for kind in types)
    client.execute_sql(f"create table orgx.typed as select {nulls}")
    reported = dict(
        client.execute_sql("select column_name, data_type from information_schema.columns where table_name = 'typed'")
    )
    wanted = {
        "text": pa.string(), "bigint": pa.int64(), "double": pa.float64(), "bool": pa.bool_(),
        "timestamp": pa.timestamp("us", "UTC"), "date": pa.date32(), "json": pa.string(),
    }  # fmt: skip
    assert {name: dialect.arrow_type(kind, None, None)[0] for name, kind in reported.items()} == wanted


def test_a_snapshot_shows_nothing_of_what_is_written_meanwhile(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["agents"])
    warehouse = Warehouse(pipeline())

    def count() -> int:
        return int(warehouse.with_client(lambda client: client.execute_sql("select count(*) from orgx.agents"))[0][0])

    try:
        with warehouse.kept_open():
            with warehouse.snapshot():
                before = count()
                _delete_meanwhile(warehouse, each_warehouse)
                assert count() == before > 0
            assert count() == 0
    finally:
        warehouse.close()


def test_a_snapshot_tells_times_in_utc_whatever_the_session_says(each_warehouse: str) -> None:
    execute("create schema orgx")
    elsewhere = "set timezone = 'Asia/Kolkata'"
    late = "select cast(cast('2026-03-08 23:30:00+00' as timestamptz) as text)"
    warehouse = Warehouse(pipeline())
    try:
        with warehouse.kept_open():
            warehouse.with_client(lambda client: client.execute_sql(elsewhere))
            with warehouse.snapshot():
                assert warehouse.with_client(lambda client: client.execute_sql(late))[0][0] == "2026-03-08 23:30:00+00"
    finally:
        warehouse.close()


def _delete_meanwhile(warehouse: Warehouse, kind: str) -> None:
    sql = "delete from orgx.agents"
    if kind == "duckdb":
        # Its one writer has to be in this process.
        warehouse.with_client(lambda client: client.native_connection.cursor().execute(sql).close())
    else:
        execute(sql)


def test_batches_hold_every_row_and_no_more_than_asked_for(each_warehouse: str) -> None:
    execute("create schema orgx")
    schema = pa.schema([("n", pa.int64()), ("said", pa.string())])
    sql = "select n, 'row ' || n from generate_series(1, 10) as t(n)"
    warehouse = Warehouse(pipeline())
    try:
        with warehouse.kept_open(), warehouse.snapshot():
            found = warehouse.with_client(
                lambda client: list(dialect_of(client).read_batches(client, sql, schema, rows_at_once=4))
            )
    finally:
        warehouse.close()
    assert {batch.schema for batch in found} == {schema}
    assert [row["n"] for batch in found for row in batch.to_pylist()] == list(range(1, 11))
    assert each_warehouse == "duckdb" or [batch.num_rows for batch in found] == [4, 4, 2]
