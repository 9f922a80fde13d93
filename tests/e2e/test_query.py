"""One query on the warehouse from the command line: what it prints, what it refuses, and that it writes nothing."""

from __future__ import annotations

import codecs
import csv
import io
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orgx_source.commands.query import QueryError, run_query, write_csv, write_json
from orgx_source.errors import DestinationError
from orgx_source.sandbox import Sandbox, World
from orgx_source.warehouse.stored_file import StoredFile
from orgx_source.warehouse.target import Target
from tests.running import execute, on_postgres, query, sync

FILE = Path("orgx.duckdb")
VALUES = (
    "select 1 as id, 'a,b' as title, null as nothing, true as yes, timestamptz '2026-04-29 12:00:00.5+02' as at, "
    "date '2026-01-02' as day, cast(1.50 as decimal(10, 2)) as half, cast('{\"a\": [1]}' as json) as document"
)


def ask(sql: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command on the file."""
    command = [sys.executable, "-m", "orgx_source.cli", "query", "--database", str(FILE), *options, sql]
    return subprocess.run(command, capture_output=True, text=True)


def rows(sql: str, target: Target) -> list[tuple[Any, ...]]:
    """Return all rows of an answer."""
    return run_query(target, sql, lambda columns, found: list(found))


@pytest.fixture
def file() -> Target:
    """Return a file that is called like its dataset, with a table and a mart."""
    with duckdb.connect(str(FILE)) as connection:
        connection.execute("create schema orgx.orgx; create schema orgx.orgx_marts")
        connection.execute(
            "create table orgx.orgx.tasks as select range as id, 'task' || range as title from range(250)"
        )
        connection.execute("create view orgx.orgx_marts.org_daily as select 7 as tasks_done")
    return Target(database=FILE)


def test_tables_and_marts_are_found_by_their_names(file: Target) -> None:
    for name in ("tasks", "orgx.tasks", "orgx.orgx.tasks", "TASKS"):
        assert rows(f"select count(*) from {name}", file) == [(250,)], name
    assert rows("select tasks_done from org_daily", file) == [(7,)]
    assert rows("select t.id from orgx.tasks t where t.title = 'orgx.tasks'", file) == []


def test_csv_and_json_give_every_value_in_its_standard_form(file: Target) -> None:
    text = io.StringIO()
    run_query(file, VALUES, lambda columns, found: write_csv(text, columns, found))
    assert list(csv.reader(text.getvalue().splitlines())) == [
        ["id", "title", "nothing", "yes", "at", "day", "half", "document"],
        ["1", "a,b", "", "true", "2026-04-29T10:00:00.500000Z", "2026-01-02", "1.50", '{"a": [1]}'],
    ]
    text = io.StringIO()
    run_query(file, VALUES, lambda columns, found: write_json(text, columns, found))
    assert json.loads(text.getvalue()) == [
        {
            "id": 1, "title": "a,b", "nothing": None, "yes": True, "at": "2026-04-29T10:00:00.500000Z",
            "day": "2026-01-02", "half": 1.5, "document": {"a": [1]},
        }
    ]  # fmt: skip


def test_json_of_nothing_is_an_empty_list_and_columns_of_one_name_are_kept_apart(file: Target) -> None:
    for sql, expected in (("select 1 where false", []), ("select 1 as a, 2 as a", [{"a": 1, "a_2": 2}])):
        text = io.StringIO()
        run_query(file, sql, lambda columns, found, text=text: write_json(text, columns, found))
        assert json.loads(text.getvalue()) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "drop table tasks", "insert into tasks values (1, 'x')", "create table more (id integer)",
        "copy tasks to 'out.csv'", "select * from 'secrets.csv'", "attach 'other.duckdb'",
        "set timezone = 'Asia/Tokyo'", "selec 1", "select * from nowhere", "select 1; select 2", "",
        " ; ", "-- nothing",
    ],
)  # fmt: skip
def test_what_does_not_read_the_warehouse_is_refused(file: Target, sql: str) -> None:
    Path("secrets.csv").write_text("a\n1\n")
    with pytest.raises(QueryError):
        rows(sql, file)
    assert rows("select count(*) from tasks", file) == [(250,)]
    assert not Path("out.csv").exists()


def test_an_error_in_the_query_is_one_line_without_carets(file: Target) -> None:
    with pytest.raises(QueryError) as refused:
        rows("selec 1", file)
    assert str(refused.value).endswith('near "selec" LINE 1: selec 1')


def test_a_dataset_that_is_not_there_and_a_file_that_is_none_are_named(file: Target) -> None:
    with pytest.raises(DestinationError, match="has no dataset other; it has orgx, orgx_marts"):
        rows("select 1", Target(dataset="other", database=FILE))
    Path("text.duckdb").write_text("no database " * 500)
    with pytest.raises(Exception, match=r"text\.duckdb"):
        rows("select 1", Target(database=Path("text.duckdb")))


def test_the_command_prints_a_table_and_says_what_it_leaves_out(file: Target) -> None:
    shown = ask("select id, title from tasks order by id", "--limit", "2")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[2:] == [
        " 0  task0",
        " 1  task1",
        "2 rows of 250; --limit N shows more, --format csv and json show all",
    ]
    refused = ask("selec 1")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("orgx-sync: ")
    missing = subprocess.run(
        [sys.executable, "-m", "orgx_source.cli", "query", "--database", "none.duckdb", "select 1"], capture_output=True
    )
    assert missing.returncode == 4


def test_a_row_that_is_too_wide_is_printed_in_full(file: Target) -> None:
    shown = ask("select id, repeat('wide ', 60) as long_text, 'last' as last_column from tasks limit 1")
    assert " ".join(shown.stdout.split()).startswith(f"id 0 long_text {'wide ' * 60}last_column last")


def test_postgres_answers_in_the_same_way_and_writes_nothing(postgres_server: Any) -> None:
    with Sandbox(World("small")) as box, on_postgres(postgres_server):
        sync(box, ["workspaces"])
        target = Target("postgres")
        assert rows("select count(*) from workspaces where name like '%'", target) == query(
            "select count(*) from orgx.workspaces"
        )
        for sql in ("delete from workspaces", "selec 1", "select * from nowhere"):
            with pytest.raises(QueryError):
                rows(sql, target)
        execute("set timezone = 'Asia/Tokyo'")
        text = io.StringIO()
        run_query(target, VALUES, lambda columns, found: write_json(text, columns, found))
        assert json.loads(text.getvalue())[0]["at"] == "2026-04-29T10:00:00.500000Z"


@pytest.mark.parametrize("name", ["it's.duckdb", 'a"b.duckdb', ":memory:", "md:x", "sqlite:y"])
def test_a_file_may_have_any_name(name: str, file: Target) -> None:
    FILE.rename(name)
    target = Target(database=Path(name))
    assert rows("select count(*) from tasks", target) == [(250,)]
    # It is opened, although it has no data of a run.
    StoredFile(target.database, "orgx").close()


@pytest.mark.parametrize("name", ["orgx_marts", "ORGX_MARTS", "orgx", "pg_catalog", "main"])
def test_a_file_may_be_called_like_a_schema_in_it(name: str, file: Target) -> None:
    FILE.rename(f"{name}.duckdb")
    target = Target(database=Path(f"{name}.duckdb"))
    with duckdb.connect(str(target.database)) as connection:
        (catalog,) = connection.execute("select current_database()").fetchall()[0]
        connection.execute(f'create view "{catalog}".orgx_marts.one as select 1')
    for table in ("one", "orgx_marts.one", "Orgx_Marts.one", '"orgx_marts"."one"', f"{catalog}.orgx_marts.one"):
        assert rows(f"select * from {table}", target) == [(1,)]
    assert rows("select count(*) from orgx.tasks", target) == [(250,)]


def test_sql_in_another_encoding_or_from_a_closed_stdin_is_a_usage_error(file: Target) -> None:
    command = [sys.executable, "-m", "orgx_source.cli", "query", "--database", str(FILE)]
    latin = "select 'é' as x".encode("latin-1")
    for arguments, given in ((["-"], latin), ([latin], b"")):
        done = subprocess.run([*command, *arguments], input=given, capture_output=True)
        assert (done.returncode, b"not valid UTF-8" in done.stderr) == (2, True), done.stderr
    done = subprocess.run([*command, "-"], input=codecs.BOM_UTF8 + "select 'é' as x".encode(), capture_output=True)
    assert (done.returncode, "é".encode() in done.stdout) == (0, True), done.stderr
    closed = subprocess.run(["bash", "-c", f"{shlex.join([*command, '-'])} <&-"], capture_output=True, text=True)
    assert (closed.returncode, "No query given" in closed.stderr) == (2, True), closed.stderr
