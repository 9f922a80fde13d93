"""Names in SQL are found where they are names: not in texts, not in comments, in every statement."""

from __future__ import annotations

import pytest

from orgx_source.marts import load_marts
from orgx_source.warehouse.sql_names import names_in, replace


def found(sql: str, dialect: str = "duckdb") -> list[str]:
    """Return the names as they stand in the SQL."""
    return [sql[name.parts[0].start : name.parts[-1].end] for name in names_in(sql, dialect)]


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("select a.b, raw.tasks.id, t.* from raw.tasks as t", ["a.b", "raw.tasks.id", "raw.tasks"]),
        ("select 'raw.x', 'it''s raw.y', e'it\\'s raw.z', $$raw.w$$ -- raw.v\n/* raw.u */ from raw.t", ["raw.t"]),
        ('select "a b"."c""d".e, "x.y" from t', ['"a b"."c""d".e']),
        ("select a . b, 1.5, x.date, [m.n], {'k': o.p}", ["a . b", "x.date", "m.n", "o.p"]),
        ("from marts.x; summarize marts.y; pivot marts.z on k using sum(v)", ["marts.x", "marts.y", "marts.z"]),
        ("select * from query_table('o.o.tasks') where t = 'o.o.x'", ["o.o.tasks"]),
        ("""select * from QUERY_TABLE ( '"o o".tasks' )""", ['"o o".tasks']),
        ("explain select * from raw.x where y = 'raw.z'", ["raw.x"]),
        ("select 1; explain explain select raw.x.y", ["raw.x.y"]),
        ("select öl.ünï from ß.x", ["öl.ünï", "ß.x"]),
        ("select a::b.c from d", ["b.c"]),
        ("select f(x).raw.y, l[1].raw.z, raw.t.* from raw.t, s.*", ["raw.t", "raw.t"]),
        ("select a.", []),
        ("select", []),
        ("", []),
    ],
)
def test_names_are_found_where_they_stand(sql: str, names: list[str]) -> None:
    assert found(sql) == names


def test_quotes_belong_to_the_place_and_not_to_the_name() -> None:
    (name,) = names_in('select * from "a ""b"""."c" as x', "postgres")
    assert [(part.name, part.is_quoted) for part in name.parts] == [('a "b"', True), ("c", True)]
    assert name.has_alias
    assert not names_in("select * from a.b x", "postgres")[0].has_alias


def test_a_name_begins_with_a_word_that_is_not_quoted() -> None:
    plain, quoted, other = names_in('select raw.a, "raw".b, RAW.c', "duckdb")
    assert [name.begins_with("raw") for name in (plain, quoted, other)] == [True, False, False]


@pytest.mark.parametrize("sql", ["select 'never ends from raw.tasks", 'select "raw.tasks', "/* raw.tasks"])
def test_what_cannot_be_read_has_no_names(sql: str) -> None:
    assert names_in(sql, "duckdb") == []


def test_backticks_quote_in_bigquery() -> None:
    assert found("select `a b`.c from `p-q`.orgx.tasks", "bigquery") == ["`a b`.c", "`p-q`.orgx.tasks"]


def test_only_the_places_change() -> None:
    assert replace("select a.b  from c", [(17, 18, "d.e"), (7, 8, "")]) == "select .b  from d.e"
    assert replace("x", []) == "x"


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_the_tables_that_are_found_are_those_of_the_syntax_tree(dialect: str) -> None:
    import sqlglot
    from sqlglot import exp

    for mart in load_marts().values():
        tree = sqlglot.parse_one(mart.sql, read=dialect)
        wanted = sorted(f"{table.db}.{table.name}" for table in tree.find_all(exp.Table) if table.db)
        names = [name for name in names_in(mart.sql, dialect) if name.begins_with("raw") or name.begins_with("marts")]
        assert sorted(f"{name.parts[0].name}.{name.parts[1].name}" for name in names) == wanted, mart.name
