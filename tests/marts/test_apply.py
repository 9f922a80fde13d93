"""The marts get into a warehouse whole or not at all, say what they are, and cope with what is not there."""

from __future__ import annotations

from typing import Any

import pytest
import sqlglot

from orgx_source.errors import DestinationError
from orgx_source.marts import load_marts
from orgx_source.marts.apply import FINGERPRINT, raw_columns
from orgx_source.sandbox import Sandbox
from orgx_source.sync import renew_marts
from orgx_source.tables import TABLES
from tests.running import execute, pipeline, query, sync

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
    """Return the comments of columns, and under an empty name that of the table or view."""
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
def test_every_run_makes_the_marts_and_describes_tables_views_and_columns() -> None:
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
    # A later load leaves the comments alone.
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
        with pytest.raises(DestinationError, match="could not be made, the tables are fine"):
            renew_marts(pipeline())
        assert query("select * from orgx_marts.org_daily order by day") == before
        report = sync(box)
        assert (report.status, report.exit_code) == ("incomplete", 4)
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
