"""Marts as a notebook reads them: the same rows from DuckDB and PostgreSQL, and nobody is kept waiting."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from orgx_source.errors import DestinationError
from orgx_source.notebook import Answer, Marts, open_marts
from orgx_source.sandbox import Sandbox, World
from tests.running import DATABASE, execute, query, sync


def marts_of(warehouse: str) -> Marts:
    return open_marts(str(DATABASE), warehouse)


def fill() -> None:
    with Sandbox(World("small", start=datetime(2026, 3, 2, 6, tzinfo=UTC))) as box:
        assert sync(box).exit_code == 0


def test_rows_come_in_order_as_plain_values(each_warehouse: str) -> None:
    fill()
    marts = marts_of(each_warehouse)
    decisions = marts.rows("decision_latency")
    assert len(decisions) == query("select count(*) from orgx_marts.decision_latency")[0][0] > 0
    keys = [row["decision_id"] for row in decisions]
    assert keys == sorted(keys)
    asked = [row["asked_at"] for row in decisions]
    assert all(moment.utcoffset().total_seconds() == 0 for moment in asked)
    assert {type(row["is_open"]) for row in decisions} == {bool}
    assert all(isinstance(row["owner_agents"], str | None) for row in marts.rows("initiatives_current"))


def test_a_question_finds_views_and_tables_by_short_names(each_warehouse: str) -> None:
    fill()
    sql = """
        select tasks.status, count(*) as tasks, 7 % 4 as rest, sum(progress_pct) as total
        from raw.tasks as tasks
        join marts.initiatives_current as initiatives using (initiative_id)
        where tasks.title like '%a%'
        group by tasks.status
    """
    found = marts_of(each_warehouse).query(sql)
    assert found and set(found[0]) == {"status", "tasks", "rest", "total"}
    assert {type(row["tasks"]) for row in found} == {int}
    assert found[0]["rest"] == 3


def test_what_is_wrong_with_a_question_is_said(each_warehouse: str) -> None:
    fill()
    marts = marts_of(each_warehouse)
    with pytest.raises(DestinationError, match="nonsense"):
        marts.query("select nonsense from marts.org_daily")
    with pytest.raises(DestinationError, match=r"There is no mart 'nothing'; there are: .*org_daily"):
        marts.rows("nothing")
    execute("drop view orgx_marts.org_daily")
    with pytest.raises(DestinationError, match="org_daily"):
        marts.rows("org_daily")


def test_nothing_can_be_written_to_a_file() -> None:
    fill()
    with pytest.raises(DestinationError, match="read-only"):
        open_marts(str(DATABASE)).query("drop view marts.org_daily")


def test_a_file_that_is_called_like_its_dataset_can_be_asked() -> None:
    fill()
    Path(DATABASE).rename("orgx.duckdb")
    with pytest.raises(DestinationError, match=r"There is no x\.duckdb here"):
        open_marts(str(DATABASE))
    assert open_marts("orgx.duckdb").query("select count(*) as n from raw.tasks")[0]["n"] > 0


def test_days_are_those_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    sql = "select date_trunc('day', timestamptz '2026-03-02 23:30+00') as day, current_setting('TimeZone') as zone"
    assert open_marts(str(DATABASE)).query(sql) == [{"day": datetime(2026, 3, 2, tzinfo=UTC), "zone": "UTC"}]


def test_a_notebook_that_stays_open_is_in_nobodys_way() -> None:
    fill()
    marts = open_marts(str(DATABASE))
    assert marts.rows("sync_health")
    execute("create table orgx.mine (x int)")
    assert marts.query("select count(*) as n from raw.mine") == [{"n": 0}]


def test_a_file_that_is_being_written_says_so() -> None:
    fill()
    marts = open_marts(str(DATABASE))
    with duckdb.connect(str(DATABASE)) as connection:
        connection.execute("create table orgx.mine (x int)")
        with pytest.raises(DestinationError):
            marts.rows("org_daily")


def test_a_file_is_found_one_directory_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fill()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert open_marts(str(DATABASE)).rows("sync_health")


def test_an_answer_is_shown_as_a_table_in_which_text_stays_text() -> None:
    answer = Answer(
        [{"<b>": "<script>", "n": 1234.5, "when": datetime(2026, 3, 2, 6, tzinfo=UTC), "yes": True, "no": None}]
    )
    html = answer._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and "&lt;b&gt;" in html
    assert '<td style="text-align: right">1,234.5</td>' in html
    assert repr(answer) == "<b> | n | when | yes | no\n<script> | 1,234.5 | 2026-03-02 06:00 | yes | "


def test_a_long_answer_says_how_much_is_left_out() -> None:
    answer = Answer({"n": number} for number in range(60))
    assert answer._repr_html_().count("<tr>") == 51
    assert "and 10 more rows" in answer._repr_html_()
    assert repr(Answer()) == "no rows" and Answer()._repr_html_() == "<p>no rows</p>"
