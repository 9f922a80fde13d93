"""Query results as DataFrames: a dtype per type of column, also without rows, and nothing lost on the way."""

from __future__ import annotations

import importlib
import sys
from collections import namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd
import pytest

from orgx_source.errors import ConfigError
from orgx_source.marts import load_marts
from orgx_source.marts.apply import raw_columns
from orgx_source.marts.frames import VOCABULARIES, Answer, answer_of, describe_mart, describe_table, to_frame

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BIG = 2**62 + 1

# The type in SQL, a value, the dtype, and what stands in the DataFrame.
TYPES: list[tuple[str, str, str, Any]] = [
    ("boolean", "true", "boolean", True),
    ("integer", "7", "Int64", 7),
    ("bigint", str(BIG), "Int64", BIG),
    ("hugeint", "12", "Int64", 12),
    ("double", "1.5", "float64", 1.5),
    ("decimal(9, 2)", "1", "float64", 1.0),
    ("decimal(9, 0)", "3", "Int64", 3),
    ("timestamptz", "'2026-03-02 12:00+00'", "datetime64[us, UTC]", pd.Timestamp(NOON)),
    ("timestamptz", "'9000-03-02 12:00+00'", "datetime64[us, UTC]", pd.Timestamp(NOON.replace(year=9000))),
    ("timestamp", "'2026-03-02 12:00'", "datetime64[us, UTC]", pd.Timestamp(NOON)),
    ("date", "'2026-03-02'", "datetime64[s]", pd.Timestamp(2026, 3, 2)),
    ("interval", "'1 day'", "timedelta64[us]", pd.Timedelta(days=1)),
    ("varchar", "'x'", "string", "x"),
    ("json", """'{"a": [1, null]}'""", "object", {"a": [1, None]}),
    ("json", """'"text"'""", "object", "text"),
    ("integer[]", "[1, 2]", "object", [1, 2]),
]


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    found = duckdb.connect()
    found.execute("set timezone = 'UTC'")
    return found


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> Answer:
    found = connection.execute(sql)
    return answer_of(found.description, found.fetchall())


@pytest.mark.parametrize(("sql_type", "value", "dtype", "expected"), TYPES, ids=[f"{t[0]} {t[1]}" for t in TYPES])
def test_each_type_has_its_dtype_with_nulls_and_without_rows(
    connection: duckdb.DuckDBPyConnection, sql_type: str, value: str, dtype: str, expected: Any
) -> None:
    column = f"select cast({value} as {sql_type}) as x"
    frame = to_frame(ask(connection, f"{column} union all select null"))
    assert str(frame["x"].dtype) == dtype
    assert frame["x"].isna().sum() == 1
    assert frame["x"].dropna().iloc[0] == expected
    for empty in (f"{column} limit 0", f"select cast(null as {sql_type}) as x"):
        assert str(to_frame(ask(connection, empty))["x"].dtype) == dtype


def test_an_integer_that_needs_more_than_64_bits_is_kept(connection: duckdb.DuckDBPyConnection) -> None:
    frame = to_frame(ask(connection, "select cast(2 as hugeint) * 9223372036854775807 as x"))
    assert frame["x"].tolist() == [2 * (2**63 - 1)]


def test_columns_of_one_name_are_both_there(connection: duckdb.DuckDBPyConnection) -> None:
    frame = to_frame(ask(connection, "select 1 as a, 'x' as a"))
    assert list(frame.columns) == ["a", "a"] and frame.iloc[0].tolist() == [1, "x"]


# As psycopg2 describes a column.
Postgres = namedtuple("Postgres", "name type_code table_oid")
Other = namedtuple("Other", "name type_code")


@pytest.mark.parametrize(
    ("type_code", "value", "dtype"),
    [
        (16, True, "boolean"), (20, 7, "Int64"), (701, 1.5, "float64"), (1700, Decimal("12"), "Int64"),
        (1700, Decimal("1.5"), "float64"), (1700, Decimal("NaN"), "float64"),
        (1184, NOON.astimezone(timezone(timedelta(hours=5))), "datetime64[us, UTC]"),
        (1082, date(2026, 3, 2), "datetime64[s]"), (1186, timedelta(days=1), "timedelta64[us]"), (25, "x", "string"),
        (3802, "text", "object"), (3802, {"a": 1}, "object"),
    ],
    ids=str,
)  # fmt: skip
def test_postgresql_gives_the_same_dtypes(type_code: int, value: Any, dtype: str) -> None:
    assert str(to_frame(answer_of([Postgres("x", type_code, 0)], [(value,), (None,)]))["x"].dtype) == dtype
    told = to_frame(answer_of([Postgres("x", type_code, 0)], [(value,)]))["x"].iloc[0]
    assert dtype != "object" or told == value


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([True, None], "boolean"), ([1, None], "Int64"), ([1.5, None], "float64"), ([NOON], "datetime64[us, UTC]"),
        ([date(2026, 3, 2)], "datetime64[s]"), (["x"], "string"), ([{"a": 1}], "object"), ([None], "object"),
        ([1, "x"], "object"), ([], "object"),
    ],
    ids=str,
)  # fmt: skip
def test_the_values_decide_where_a_driver_does_not_tell_the_type(values: list[Any], dtype: str) -> None:
    assert str(to_frame(answer_of([Other("x", 16)], [(value,) for value in values]))["x"].dtype) == dtype


def statuses(view: str, column: str, *values: str | None) -> pd.Series[Any]:
    return to_frame(Answer([column], ["text"], [(value,) for value in values]), view)[column]


def test_a_status_has_the_categories_of_its_documentation_and_any_other_that_comes() -> None:
    found = statuses("initiatives_current", "status_group", "paused", None, "brand_new")
    assert list(found.cat.categories) == ["planned", "active", "paused", "blocked", "completed", "closed", "brand_new"]
    assert found.isna().tolist() == [False, True, False]
    assert list(statuses("", "status", "b", "a", None).cat.categories) == ["a", "b"]
    assert statuses("initiatives_current", "status_group").dtype == "category"


def test_urgencies_are_sorted_by_how_urgent_they_are() -> None:
    found = statuses("decision_latency", "urgency", "critical", "low", "high")
    assert found.sort_values().tolist() == ["low", "high", "critical"] and found.max() == "critical"
    assert not statuses("decision_latency", "urgency", "someday", "low").cat.ordered


@pytest.mark.parametrize(("view", "column"), [key for key in VOCABULARIES if key[0]], ids=str)
def test_categories_are_those_of_the_documentation(view: str, column: str) -> None:
    described = load_marts()[view].columns.get(column)
    assert described is None or all(value in described for value in VOCABULARIES[view, column])


def test_attrs_describe_the_mart_and_the_columns_that_are_there() -> None:
    mart = load_marts()["org_daily"]
    frame = describe_mart(to_frame(Answer(["day", "tasks_done", "mine"], ["date", "int", "int"], [])), mart)
    assert frame.attrs["grain"] == "day" and frame.attrs["key"] == ["day"]
    assert "decisions_open" in frame.attrs["not_to_sum"]
    assert frame.attrs["columns"] == {name: mart.columns[name] for name in ("day", "tasks_done")}
    tasks = describe_table(to_frame(Answer(["id"], ["text"], [])), "tasks", "Text.", ["id"], raw_columns()["tasks"])
    assert tasks.attrs == {
        "name": "tasks", "description": "Text.", "key": ["id"], "columns": {"id": "Task id (UUID)."}
    }  # fmt: skip


def test_without_pandas_a_notebook_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("orgx_source.notebook", "orgx_source.marts.frames"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("orgx_source.marts.frames")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"needs? the package 'pandas': pip install 'orgx-source\[notebooks\]'"):
        importlib.import_module("orgx_source.notebook")
