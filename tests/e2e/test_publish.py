"""`orgx-sync run --publish FILE`: readers of FILE keep what they have open, and later find the whole of a run."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orgx_source.commands.publish import problem_with, publish, without_catalog
from orgx_source.errors import DestinationError, PublishError
from orgx_source.reading.report import log_rows
from orgx_source.sandbox import Sandbox, World
from orgx_source.source import sync_log_source
from orgx_source.warehouse.duckdb_file import LockPatience
from tests.e2e.test_command import orgx_sync
from tests.running import DATABASE, execute, pipeline, query, sync

pytestmark = pytest.mark.marts

PUBLISHED = Path("readers/bi.duckdb")
READER = f"""
import duckdb
connection = duckdb.connect({str(PUBLISHED)!r}, read_only=True)
while True:
    print(connection.execute(input()).fetchall(), flush=True)
"""
FULL_DISK = """
import orgx_source.files
def full(path):
    raise OSError(28, "No space left on device")
orgx_source.files._to_disk = full
from orgx_source.cli import main
main()
"""


@pytest.fixture(autouse=True)
def _folder() -> None:
    PUBLISHED.parent.mkdir()


@contextmanager
def reader() -> Iterator[Any]:
    """Another process that has the published file open; yields a function that asks it."""
    process = subprocess.Popen([sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(sql: str) -> str:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{sql}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()


def run(box: Sandbox, *arguments: str, database: Path = DATABASE, file: Path = PUBLISHED) -> Any:
    return orgx_sync("run", "--database", str(database), "--publish", str(file), *arguments, box=box)


def published(sql: str, file: Path = PUBLISHED) -> list[tuple[Any, ...]]:
    return query(sql, file)


def put(file: Path = PUBLISHED, database: Path = DATABASE) -> None:
    publish(pipeline(database), database, file, LockPatience())


def beside(file: Path = PUBLISHED) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir())


def test_a_reader_keeps_its_answers_while_runs_publish_and_a_new_one_sees_the_new_rows() -> None:
    count = "select count(*) from orgx.tasks"
    with Sandbox(World("small")) as box:
        done = run(box)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"Published to {PUBLISHED}" in done.stdout
        first = box.world.count("task")
        titles = "select string_agg(title, '|' order by id) from orgx.tasks"
        before, content = PUBLISHED.stat().st_ino, str(published(titles))
        with reader() as ask:
            assert ask(count) == f"[({first},)]"
            for more in (1, 2):
                box.world.insert("task", title="new")
                done = run(box, "--json")
                assert done.returncode == 0, done.stdout + done.stderr
                assert json.loads(done.stdout)["published"] == str(PUBLISHED)
                assert ask(count) == f"[({first},)]"
                assert published(count) == query(count) == [(first + more,)]
            # Read for the first time now, from the file that has no name any more.
            assert ask(titles) == content
            assert PUBLISHED.stat().st_ino != before
        assert beside() == [PUBLISHED.name]


def test_the_copy_holds_every_table_view_and_comment_of_the_original() -> None:
    objects = (
        "select schema_name, table_name as name, comment from duckdb_tables() union all "
        "select schema_name, view_name, comment from duckdb_views() where not internal order by all"
    )
    comments = (
        "select schema_name, table_name, column_name, comment from duckdb_columns() "
        "where comment is not null order by all"
    )
    with Sandbox(World("small")) as box:
        sync(box)
    execute("comment on view orgx.tasks_versions is 'it''s told'", "comment on column orgx.tasks.title is 'words'")
    put()
    assert ("orgx", "tasks_versions", "it's told") in published(objects)
    assert published(objects) == query(objects)
    assert published(comments) == query(comments) != []
    for schema, name, _ in query(objects):
        sql = f'select count(*) from {schema}."{name}"'
        assert published(sql) == query(sql), name
    # What DuckDB 1.x can read, though 2.0 wrote it.
    [(tags,)] = published("select tags from duckdb_databases() where database_name = 'bi'")
    assert str(tags["storage_version"]).startswith("v1.0.0")


@pytest.mark.parametrize("file", ["readers/bi.duckdb", "readers/orgx.duckdb", "readers/two words.duckdb"])
def test_the_defaults_file_and_dataset_of_one_name_are_published_under_any_name(file: str) -> None:
    with Sandbox(World("small")) as box:
        done = run(box, "--table", "tasks", database=Path("orgx.duckdb"), file=Path(file))
        assert f"Published to {file}" in done.stdout, done.stdout + done.stderr
        catalog = Path(file).stem
        for name in ("tasks", "tasks_versions"):
            [(count,)] = published(f'select count(*) from "{catalog}".orgx.{name}', Path(file))
            assert count == box.world.count("task")
        if catalog != "orgx":
            [(count,)] = published("select count(*) from orgx_marts.sync_health", Path(file))
            assert count == 1


def test_views_that_name_their_database_answer_in_a_file_of_another_name_and_keep_their_comments() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"], database=Path("orgx.duckdb"))
    execute(
        "create schema orgx.reports",
        # The last one first in the alphabet, which is the order that DuckDB lists them in.
        "create view orgx.reports.c as select *, 'orgx.orgx.tasks' as text from query_table('orgx.orgx.tasks')",
        "create view orgx.reports.b as select * from query_table('orgx.reports.c')",
        "create view orgx.reports.a as select * from query_table('orgx.reports.b')",
        "create view orgx.reports.d as select c.* from orgx.reports.c join query_table('orgx.orgx.tasks') using (id)",
        "comment on view orgx.reports.a is 'told'",
        "comment on column orgx.reports.a.title is 'words'",
        "create table orgx.orgx.gone (id integer)",
        "create view orgx.reports.dead as select * from query_table('orgx.orgx.gone')",
        "drop table orgx.orgx.gone",
        database=Path("orgx.duckdb"),
    )
    put(database=Path("orgx.duckdb"))
    [(count,)] = query("select count(*) from orgx.orgx.tasks", Path("orgx.duckdb"))
    for name in ("a", "b", "c", "d"):
        assert published(f"select count(*), min(text), max(text) from reports.{name}") == [
            (count, "orgx.orgx.tasks", "orgx.orgx.tasks")
        ]
    assert published("select comment from duckdb_views() where view_name = 'a'") == [("told",)]
    assert published("select comment from duckdb_columns() where table_name = 'a' and column_name = 'title'") == [
        ("words",)
    ]


def test_a_view_that_would_stop_answering_is_named_and_nothing_is_published() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
    put()
    before = PUBLISHED.read_bytes()
    execute("create view orgx.odd as select * from query('select * from x.orgx.tasks')")
    with pytest.raises(PublishError, match=r"the view orgx\.odd would not work in a file with that name"):
        put()
    assert PUBLISHED.read_bytes() == before
    assert beside() == [PUBLISHED.name]


@pytest.mark.parametrize(
    ("sql", "short"),
    [
        ("SELECT id FROM orgx.orgx.tasks", "SELECT id FROM orgx.tasks"),
        ('SELECT orgx."orgx".tasks.id FROM "orgx".orgx.tasks', 'SELECT "orgx".tasks.id FROM orgx.tasks'),
        ("SELECT 'orgx.orgx.tasks', 'it''s orgx.orgx.x' FROM orgx.tasks", None),
        ("SELECT * FROM query_table('orgx.orgx.tasks')", "SELECT * FROM query_table('orgx.tasks')"),
        ("SELECT orgx.tasks.id, other.orgx.orgx.x FROM other.orgx.tasks", None),
        ("SELECT s.orgx.orgx.x, orgx.unknown.x FROM t", None),
    ],
)
def test_only_the_name_of_the_database_is_taken_out_of_a_view(sql: str, short: str | None) -> None:
    assert without_catalog(sql, "orgx", {"orgx", "orgx_marts"}) == (short or sql)


def test_a_full_disk_leaves_the_older_copy_says_so_and_the_rows_are_loaded() -> None:
    with Sandbox(World("small")) as box:
        assert run(box, "--table", "tasks").returncode == 0
        before = PUBLISHED.read_bytes()
        box.world.insert("task", title="new")
        settings = {"ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url}
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                FULL_DISK,
                "run",
                "--table",
                "tasks",
                "--database",
                "x.duckdb",
                "--publish",
                PUBLISHED,
            ],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert f"{PUBLISHED} was not published and is unchanged; the data is loaded: No space left" in done.stdout
        assert PUBLISHED.read_bytes() == before
        assert beside() == [PUBLISHED.name]
        assert query("select count(*) from orgx.tasks") == [(box.world.count("task"),)]


def test_a_copy_that_breaks_off_leaves_nothing() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
    put()
    before = PUBLISHED.read_bytes()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As on a full disk: no file grows beyond this.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, unlimited[1]))
    try:
        with pytest.raises(PublishError, match=r"was not published and is unchanged; the data is loaded: .*[Ww]rite"):
            put()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert PUBLISHED.read_bytes() == before
    assert beside() == [PUBLISHED.name]
    # What a killed run left there.
    PUBLISHED.with_name("bi.duckdb.unfinished").write_bytes(b"half")
    PUBLISHED.with_name("bi.duckdb.unfinished.wal").write_bytes(b"half")
    # And whoever wrote into the older copy, which others may read.
    PUBLISHED.with_name("bi.duckdb.wal").write_bytes(b"of the older copy")
    PUBLISHED.chmod(0o664)
    put()
    assert PUBLISHED.stat().st_mode & 0o777 == 0o664
    assert beside() == [PUBLISHED.name]
    assert published("select count(*) from orgx.tasks") == query("select count(*) from orgx.tasks")


def test_an_incomplete_run_is_published_a_failed_one_is_not() -> None:
    with Sandbox(World("small")) as box:
        done = run(box, "--table", "tasks", "--table", "agents", "--max-requests", "4", "--json")
        assert done.returncode == 4
        assert json.loads(done.stdout)["published"] == str(PUBLISHED)
        before = PUBLISHED.read_bytes()
        done = orgx_sync(
            "run", "--database", str(DATABASE), "--publish", str(PUBLISHED), "--json",
            box=box, ORGX_API_KEY="oxk_wrong_wrong_wrong",
        )  # fmt: skip
        assert done.returncode == 3
        assert json.loads(done.stdout)["published"] is None
        assert PUBLISHED.read_bytes() == before


def test_half_a_load_is_not_published() -> None:
    with Sandbox(World("small")) as box:
        report = sync(box, ["tasks"])
    pipeline().extract(sync_log_source(log_rows(report, ["tasks"])))
    with pytest.raises(DestinationError, match="Some data is read but not loaded yet"):
        put()
    assert beside() == []


def test_a_working_file_that_another_process_writes_is_waited_for_and_one_that_is_read_is_not() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
    hold = "import duckdb; c = duckdb.connect('x.duckdb', read_only={}); print(1, flush=True); input()"
    for read_only in (True, False):
        command = [sys.executable, "-c", hold.format(read_only)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"1\n"
            waits: list[float] = []

            def sleep(seconds: float, holder: Any = holder, waits: list[float] = waits) -> None:
                waits.append(seconds)
                if len(waits) == 2:
                    holder.communicate(b"\n")

            if read_only:
                put()
                holder.communicate(b"\n")
                continue
            with pytest.raises(DestinationError, match="is open in another process"):
                put()
            publish(pipeline(), DATABASE, PUBLISHED, LockPatience(30.0, sleep=sleep))
            assert len(waits) == 2
    assert beside() == [PUBLISHED.name]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--publish", "x.duckdb", "--database", "x.duckdb"), "is the database that the run itself writes"),
        (("--publish", "linked.duckdb", "--database", "x.duckdb"), "is the database that the run itself writes"),
        (("--publish", "orgx.duckdb"), "is the database that the run itself writes"),
        (("--publish", "nowhere/bi.duckdb"), "does not exist"),
        (("--publish", "orgx.duckdb", "--database", "x.duckdb"), "the name of a dataset in it"),
        (("--publish", "circle.duckdb"), "cannot be used: Too many levels of symbolic links"),
        (("--publish", "pipe.duckdb"), "is a pipe or a device"),
        (("--publish", "/dev/null"), "is a pipe or a device"),
        (("--publish", "Main.duckdb"), "would be database 'main', which is not a valid name"),
        (("--publish", ".duckdb"), "would be database '', which is not a valid name"),
        (("--publish", "notes.txt"), "is not a DuckDB file, so it is left alone"),
        (("--publish", "readers"), "is a directory"),
        (("--publish", "notes.txt/bi.duckdb"), "cannot be used: Not a directory"),
        (("--publish", "bi.duckdb", "--destination", "postgres"), "only a DuckDB file can be published"),
    ],
)
def test_a_file_that_cannot_take_the_copy_is_refused_before_anything_is_read(
    arguments: tuple[str, ...], sentence: str
) -> None:
    Path("x.duckdb").write_bytes(b"")
    Path("linked.duckdb").hardlink_to("x.duckdb")
    Path("circle.duckdb").symlink_to("circle.duckdb")
    Path("notes.txt").write_text("precious")
    os.mkfifo("pipe.duckdb")
    with Sandbox(World("small")) as box:
        done = orgx_sync("run", *arguments, box=box, COLUMNS="400")
        assert done.returncode == 2
        assert sentence in " ".join(done.stderr.split())
        assert box.count() == 0
    assert Path("notes.txt").read_text() == "precious" and Path("pipe.duckdb").is_fifo()


def test_names_that_differ_only_in_their_folder_are_two_files() -> None:
    assert problem_with(PUBLISHED, Path("bi.duckdb"), "orgx") is None
