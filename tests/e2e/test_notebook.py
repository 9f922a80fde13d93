"""Marts as a notebook reads them: the same DataFrames from DuckDB and PostgreSQL, and no run has to wait."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from orgx_source import charts
from orgx_source.errors import DestinationError
from orgx_source.marts import load_marts
from orgx_source.notebook import Marts, open_marts
from orgx_source.sandbox import Sandbox, World
from tests.running import DATABASE, execute, query, sync

pytestmark = pytest.mark.marts


def marts_of(warehouse: str) -> Marts:
    return open_marts(str(DATABASE), warehouse)


def fill() -> None:
    with Sandbox(World("small", start=datetime(2026, 3, 2, 6, tzinfo=UTC))) as box:
        assert sync(box).exit_code == 0


# Types of columns in the marts, as DuckDB and PostgreSQL declare them.
DTYPES = {
    "bigint": "Int64", "integer": "Int64", "double": "float64", "double precision": "float64", "boolean": "boolean",
    "date": "datetime64[s]", "timestamp with time zone": "datetime64[us, UTC]", "json": "object", "jsonb": "object",
}  # fmt: skip


def test_frames_have_the_types_of_their_columns_and_their_documentation(each_warehouse: str) -> None:
    fill()
    marts = marts_of(each_warehouse)
    types = "select column_name, data_type from information_schema.columns where table_schema = 'orgx_marts'"
    for mart in load_marts().values():
        frame = marts.frame(mart.name)
        declared = dict(query(f"{types} and table_name = '{mart.name}'"))
        assert set(frame.columns) == declared.keys()
        for column, sql_type in declared.items():
            expected = DTYPES.get(sql_type.lower())
            assert str(frame[column].dtype) in ([expected] if expected else ["string", "category"]), (mart.name, column)
        assert frame.attrs["grain"] == mart.grain
        assert mart.is_staging or frame.attrs["columns"].keys() == declared.keys()


def test_a_mart_comes_ordered_by_its_key_and_charts_take_it(each_warehouse: str) -> None:
    fill()
    marts = marts_of(each_warehouse)
    decisions = marts.frame("decision_latency")
    assert len(decisions) == query("select count(*) from orgx_marts.decision_latency")[0][0] > 0
    assert decisions["decision_id"].is_monotonic_increasing
    assert all(isinstance(names, list) for names in marts.frame("initiatives_current")["owner_agents"].dropna())
    assert charts.waiting_now(decisions).to_dict()["title"]


def test_a_table_comes_with_deleted_rows_parsed_json_and_descriptions(each_warehouse: str) -> None:
    fill()
    raw = marts_of(each_warehouse).raw
    tasks = raw.frame("tasks")
    assert tasks["id"].is_monotonic_increasing and len(tasks) == query("select count(*) from orgx.tasks")[0][0]
    assert tasks.attrs["columns"]["id"] == "Task id (UUID)." and tasks.attrs["key"] == ["id"]
    assert str(tasks["created_at"].dtype) == "datetime64[us, UTC]" and tasks["status"].dtype == "category"
    history = raw.frame("tasks_history")
    assert history.attrs["key"] == ["id", "valid_from"] and len(history) >= len(tasks)
    assert all(isinstance(value, dict) for value in tasks["metadata"].dropna())
    assert all(isinstance(value, list) for value in raw.frame("sync_log")["reasons"].dropna())
    for name in ("nothing", "a b; c"):
        with pytest.raises(DestinationError, match=f"There is no table '{name}' in orgx.*: activity, agents"):
            raw.frame(name)


def test_a_query_finds_views_and_tables_by_short_names(each_warehouse: str) -> None:
    fill()
    sql = """
        select tasks.status, count(*) as tasks, 7 % 4 as rest, sum(progress_pct) as total, sum(tasks_total) as counted
        from raw.tasks as tasks
        join marts.initiatives_current as initiatives using (initiative_id)
        where tasks.title like '%a%'
        group by tasks.status
    """
    found = marts_of(each_warehouse).query(sql)
    dtypes = {name: str(dtype) for name, dtype in found.dtypes.items()}
    assert dtypes == {"status": "category", "tasks": "Int64", "rest": "Int64", "total": "float64", "counted": "Int64"}
    assert len(found) and (found["rest"] == 3).all()
    assert marts_of(each_warehouse).query(f"select * from ({sql}) as x where 1 = 0").empty


def test_what_is_wrong_with_a_question_is_said(each_warehouse: str) -> None:
    fill()
    marts = marts_of(each_warehouse)
    with pytest.raises(DestinationError, match="nonsense"):
        marts.query("select nonsense from marts.org_daily")
    with pytest.raises(DestinationError, match=r"Unknown mart 'nothing'; known marts: .*org_daily"):
        marts.frame("nothing")
    execute("drop view orgx_marts.org_daily")
    with pytest.raises(DestinationError, match=r"There is no orgx_marts\.org_daily yet\. orgx-sync run creates"):
        marts.frame("org_daily")
    with pytest.raises(DestinationError, match="org_daily"):
        marts.query("select * from marts.org_daily")


def test_a_database_without_marts_says_what_creates_them(each_warehouse: str) -> None:
    execute("create schema elsewhere")
    marts = open_marts(str(DATABASE), each_warehouse)
    with pytest.raises(DestinationError, match="orgx-sync marts creates them without a sync"):
        marts.frame("org_daily")
    with pytest.raises(DestinationError, match="There is no table 'tasks' in orgx"):
        marts.raw.frame("tasks")


def test_nothing_can_be_written_to_a_file() -> None:
    fill()
    with pytest.raises(DestinationError, match="read-only"):
        open_marts(str(DATABASE)).query("drop view marts.org_daily")


def test_a_file_that_is_called_like_its_dataset_can_be_asked() -> None:
    fill()
    Path(DATABASE).rename("orgx.duckdb")
    with pytest.raises(DestinationError, match=r"There is no x\.duckdb here"):
        open_marts(str(DATABASE))
    assert open_marts("orgx.duckdb").query("select count(*) as n from raw.tasks")["n"].item() > 0


def test_days_are_those_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    sql = "select date_trunc('day', timestamptz '2026-03-02 23:30+00') as day, current_setting('TimeZone') as zone"
    assert open_marts(str(DATABASE)).query(sql).iloc[0].tolist() == [pd.Timestamp("2026-03-02", tz="UTC"), "UTC"]


def test_a_notebook_that_stays_open_is_in_nobodys_way() -> None:
    fill()
    marts = open_marts(str(DATABASE))
    assert len(marts.frame("sync_health"))
    execute("create table orgx.mine (x int)")
    assert marts.query("select count(*) as n from raw.mine")["n"].tolist() == [0]


def test_a_file_that_is_being_written_says_so() -> None:
    fill()
    marts = open_marts(str(DATABASE))
    with duckdb.connect(str(DATABASE)) as connection:
        connection.execute("create table orgx.mine (x int)")
        with pytest.raises(DestinationError):
            marts.frame("org_daily")


def test_a_file_is_found_one_directory_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fill()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert len(open_marts(str(DATABASE)).frame("sync_health"))
