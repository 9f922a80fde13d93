"""The marts are created atomically, are documented, and support missing tables and columns."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
import sqlglot

from orgx_source.errors import OrgxError
from orgx_source.marts import Mart, apply, load_marts, marts_in_order
from orgx_source.marts.apply import FINGERPRINT, raw_columns
from orgx_source.sandbox import Sandbox
from orgx_source.sync import renew_marts
from orgx_source.tables import TABLES
from orgx_source.warehouse.dialect import DUCKDB_FILE, Dialect, Postgres
from tests.running import execute, pipeline, query, sync

pytestmark = pytest.mark.marts

MARTS = {name: mart for name, mart in load_marts().items() if not mart.is_staging}


def columns(view: str) -> list[str]:
    return [
        row[0]
        for row in query(
            "select column_name from information_schema.columns where table_schema = 'orgx_marts' "
            f"and table_name = '{view}' order by ordinal_position"
        )
    ]


def comments(relation: str) -> dict[str, str]:
    """Return comments by column name; the comment of the table or view has an empty name."""
    from tests import running

    schema, name = relation.split(".")
    if running._postgres is None:
        of = f"where schema_name = '{schema}'"
        found = query(
            f"select column_name, comment from duckdb_columns() {of} and table_name = '{name}' union all "
            f"select '', comment from duckdb_tables() {of} and table_name = '{name}' union all "
            f"select '', comment from duckdb_views() {of} and view_name = '{name}'"
        )
    else:
        found = query(
            "select coalesce(a.attname, ''), d.description from pg_description d "
            "left join pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid and d.objsubid > 0 "
            f"where d.objoid = '{relation}'::regclass"
        )
    return {name: text for name, text in found if text is not None}


@pytest.mark.usefixtures("each_warehouse")
def test_every_run_makes_the_marts_and_describes_tables_views_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORGX_OPTIONAL_TABLES")
    with Sandbox() as box:
        assert sync(box).exit_code == 0
    for name, mart in MARTS.items():
        assert columns(name) == list(mart.columns), name
        said = comments(f"orgx_marts.{name}")
        assert said.pop("").startswith(mart.description)
        assert said == mart.columns
        rows = query(f"select count(*), count(distinct ({', '.join(mart.key)})) from orgx_marts.{name}")[0]
        assert rows[0] == rows[1], f"{name}: {mart.key} is no key"
    for table in TABLES.values():
        assert comments(f"orgx.{table.name}")[""] == table.description
        assert comments(f"orgx.{table.name}")[table.key] == table.columns[0].description
    assert comments("orgx.tasks_history")["valid_from"]
    # A later load does not change the comments.
    with Sandbox() as box:
        assert sync(box).exit_code == 0
    assert comments("orgx.tasks")[""] == TABLES["tasks"].description


@pytest.mark.usefixtures("each_warehouse")
def test_tables_that_are_not_there_yet_read_as_empty_and_come_in_later() -> None:
    with Sandbox() as box:
        assert sync(box, ["initiatives"]).exit_code == 0
        assert query("select count(*), sum(tasks_total) from orgx_marts.initiatives_current") == [(12, 0)]
        assert query("select count(*) from orgx_marts.decision_latency") == [(0,)]
        assert sync(box).exit_code == 0
        tasks = box.world.count("task")
        assert query("select sum(tasks_total) from orgx_marts.initiatives_current") == [(tasks,)]


@pytest.mark.usefixtures("each_warehouse")
def test_a_column_that_an_older_warehouse_lacks_reads_as_null() -> None:
    with Sandbox() as box:
        assert sync(box, ["initiatives"]).exit_code == 0
        drop = " cascade" if _is_postgres() else ""
        execute(
            *(f"drop view orgx_marts.{name}" for name in reversed(load_marts()) if not drop),
            f"alter table orgx.initiatives drop column health_score{drop}",
        )
        assert renew_marts(pipeline())
        assert query("select count(*), count(health_score) from orgx_marts.initiatives_current") == [(12, 0)]


@pytest.mark.usefixtures("each_warehouse")
def test_nothing_is_written_when_the_marts_are_current() -> None:
    with Sandbox() as box:
        assert sync(box).exit_code == 0
    assert not renew_marts(pipeline())
    execute(f"update orgx_marts.{FINGERPRINT} set fingerprint = 'of an older version'")
    assert renew_marts(pipeline())


@pytest.mark.usefixtures("each_warehouse")
def test_marts_that_cannot_be_made_leave_the_old_ones_and_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as box:
        assert sync(box).exit_code == 0
        before = query("select * from orgx_marts.org_daily order by day")
        last = list(load_marts())[-1]
        broken = type(MARTS[last])(last, MARTS[last].header, "select no_such_column from raw.tasks")
        monkeypatch.setitem(load_marts(), last, broken)
        with pytest.raises(OrgxError, match="could not be created; the tables are not affected") as raised:
            renew_marts(pipeline())
        assert raised.value.exit_code == 1, "no later night fares better"
        assert query("select * from orgx_marts.org_daily order by day") == before
        report = sync(box)
        assert (report.status, report.exit_code) == ("failed", 1)
        assert "orgx-sync marts" in report.messages[-1]
        assert report.tables["tasks"].verdict == "certified"


def _is_postgres() -> bool:
    from tests import running

    return running._postgres is not None


def test_every_view_says_what_it_is() -> None:
    for mart in load_marts().values():
        assert mart.description and mart.grain and all(mart.key), mart.name
        assert set(mart.key) <= set(mart.columns), mart.name
        assert mart.tables <= raw_columns().keys()
        assert all(text.endswith(".") for text in mart.columns.values()), mart.name


def test_no_view_asks_for_the_time_of_day() -> None:
    for mart in load_marts().values():
        for word in ("now()", "current_date", "current_timestamp", "localtime"):
            assert word not in mart.sql.lower(), mart.name


@pytest.mark.parametrize("dialect", ["snowflake", "bigquery", "databricks", "redshift", "clickhouse"])
def test_other_dialects_are_translated(dialect: str) -> None:
    for mart in load_marts().values():
        (sql,) = sqlglot.transpile(mart.sql, read="postgres", write=dialect)
        assert sqlglot.parse_one(sql, read=dialect), mart.name


def test_warehouse_names_are_quoted_and_the_file_named_like_the_dataset_works(tmp_path: Any) -> None:
    from tests.running import fast_client, make_pipeline, run_sync

    with Sandbox() as box:
        client = fast_client(box)
        file = tmp_path / "orgx.duckdb"
        assert run_sync(client.config, make_pipeline(database=file), client=client).exit_code == 0
        assert query("select count(*) from orgx.orgx_marts.initiatives_current", file) == [(12,)]


@pytest.mark.usefixtures("each_warehouse")
def test_another_version_that_says_the_same_leaves_the_views_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as box:
        assert sync(box, ["agents"]).exit_code == 0
    stamped = query(f"select fingerprint from orgx_marts.{FINGERPRINT}")
    assert len(stamped) == 2
    cascade = " cascade" if _is_postgres() else ""
    execute(f"drop view orgx_marts.sync_health{cascade}")
    monkeypatch.setattr(apply, "_renderer", lambda: "of another version")
    assert not renew_marts(pipeline())
    assert "sync_health" not in _views()
    # The new fingerprint is stored: the next run builds no statements.
    monkeypatch.setattr(apply._Names, "statements", lambda names: pytest.fail("statements were made"))
    assert not renew_marts(pipeline())
    assert query(f"select fingerprint from orgx_marts.{FINGERPRINT}") != stamped


@pytest.mark.usefixtures("each_warehouse")
def test_a_table_a_column_and_a_changed_mart_each_make_the_views_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as box:
        assert sync(box, ["agents"]).exit_code == 0
        assert sync(box, ["tasks"]).exit_code == 0
    assert not renew_marts(pipeline())
    execute("alter table orgx.agents add column source_client text")
    mart = MARTS["sync_health"]
    monkeypatch.setitem(load_marts(), mart.name, Mart(mart.name, mart.header, f"{mart.sql} limit 1000"))
    assert renew_marts(pipeline())
    assert "sync_health" in _views()


def _views() -> set[str]:
    return {
        row[0] for row in query("select table_name from information_schema.tables where table_schema = 'orgx_marts'")
    }


def _names(dialect: Dialect, present: dict[str, frozenset[str]], catalog: str | None = None) -> apply._Names:
    return apply._Names(dialect, *dialect.namespaces(catalog, "orgx", "orgx_marts"), present)


EVERYTHING = {name: frozenset(column.name for column in columns) for name, columns in raw_columns().items()}


def test_what_the_statements_are_made_of_is_in_their_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {**EVERYTHING, "tasks": EVERYTHING["tasks"] - {"title"}}
    found = [
        _names(DUCKDB_FILE, EVERYTHING),
        _names(DUCKDB_FILE, EVERYTHING, "orgx"),
        _names(DUCKDB_FILE, fewer),
        _names(Postgres(), EVERYTHING),
    ]
    prints = [names.fingerprint() for names in found]
    assert len(set(prints)) == len(found)
    assert _names(DUCKDB_FILE, dict(reversed(EVERYTHING.items()))).fingerprint() == prints[0]
    mart = MARTS["org_daily"]
    for changed in (replace(mart, header=f"{mart.header}."), replace(mart, sql=f"{mart.sql} ")):
        with monkeypatch.context() as changing:
            changing.setitem(load_marts(), mart.name, changed)
            assert found[0].fingerprint() != prints[0]
    assert found[0].fingerprint() == prints[0]


def test_the_fingerprint_covers_every_room_that_has_a_part_in_the_statements() -> None:
    package = files("orgx_source")
    assert all(package.joinpath(room).is_file() for room in apply.RENDERERS)
    # Exceptions: imported modules that do not affect the statements.
    others = {"errors", "explain", "version", "warehouse/dataset", "warehouse/target", "rows/shape"}
    for path in apply.RENDERERS:
        for module in re.findall(r"from orgx_source\.([\w.]+) import", package.joinpath(path).read_text()):
            room = "marts/__init__" if module == "marts" else module.replace(".", "/")
            assert room in others or f"{room}.py" in apply.RENDERERS, f"{path} imports {room}"


def test_a_quiet_night_reads_no_sql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orgx_source.marts.names_in", lambda *_: pytest.fail("SQL was read"))
    assert _names(Postgres(), EVERYTHING).fingerprint()


@pytest.mark.parametrize("dialect", [DUCKDB_FILE, Postgres()], ids=lambda dialect: dialect.name)
def test_the_marts_are_as_written_but_for_the_names_of_datasets(dialect: Dialect) -> None:
    names = _names(dialect, EVERYTHING)
    for mart in load_marts().values():
        assert names.query(mart).replace('"orgx".', "raw.").replace('"orgx_marts".', "marts.") == mart.sql, mart.name


@pytest.mark.parametrize("dialect", ["snowflake", "bigquery", "redshift"])
def test_an_alias_is_given_once(dialect: str) -> None:
    other = Dialect(SimpleNamespace(sqlglot_dialect=dialect, escape_identifier=lambda name: name))
    names = _names(other, {"activity": frozenset({"id"})})
    for mart in load_marts().values():
        sql = names.query(mart)
        assert sqlglot.parse_one(sql, read=dialect)
        assert not re.search(r"\bas \w+ as\b", sql, re.IGNORECASE), mart.name


def test_without_transactions_each_view_is_replaced_that_is_not_refused_and_none_is_lost() -> None:
    refused = marts_in_order()[-1].name
    connection = duckdb.connect()
    connection.execute("create schema orgx_marts")
    connection.execute(f"create view orgx_marts.{refused} as select 42 as old")

    def execute_sql(sql: str) -> None:
        if refused in sql and sql.startswith("create"):
            raise ValueError(f"no {refused} here")
        connection.execute(sql)

    client = SimpleNamespace(execute_sql=execute_sql, dataset_name="orgx")
    names = apply._Names(DUCKDB_FILE, *DUCKDB_FILE.namespaces(None, "orgx", "orgx_marts"), {})
    with pytest.raises(apply._RefusedViewsError, match=f"1 of .*{refused}: no {refused} here"):
        apply._replace_each(client, names)
    made = {row[0] for row in connection.execute("select view_name from duckdb_views() where not internal").fetchall()}
    assert made == set(load_marts())
    assert connection.execute(f"select * from orgx_marts.{refused}").fetchall() == [(42,)]
    connection.close()


def test_a_database_that_cannot_replace_a_view_gets_the_new_one_once_it_was_tried() -> None:
    connection, sent = duckdb.connect(), list[str]()

    def execute_sql(sql: str) -> None:
        sent.append(sql)
        if "or replace" in sql:
            raise ValueError("syntax error")
        connection.execute(sql)

    client = SimpleNamespace(execute_sql=execute_sql, dataset_name="orgx")
    names = apply._Names(DUCKDB_FILE, *DUCKDB_FILE.namespaces(None, "orgx", "orgx_marts"), {})
    for _ in range(2):
        apply._replace_each(client, names)
    found = connection.execute("select view_name from duckdb_views() where not internal").fetchall()
    assert {row[0] for row in found} == set(load_marts())
    connection.close()
