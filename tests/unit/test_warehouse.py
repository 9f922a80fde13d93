"""What a dataset is asked, on a DuckDB file that was filled by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orgx_source.errors import ConfigError
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.tables import TABLES
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.dialect import DuckDBFile
from orgx_source.warehouse.pipeline import make_pipeline

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
TASKS, ACTIVITY = TABLES["tasks"], TABLES["activity"]
HASH = "0123456789abcdef"
FILLED = f"""
create schema orgx;
create table orgx._dlt_loads (load_id varchar, status bigint);
insert into orgx._dlt_loads values ('1', 0), ('2', 0), ('3', 1);
create table orgx.tasks (id varchar, title varchar, workspace_id varchar, command_center_id varchar, metadata json,
    created_at timestamptz, last_changed_at timestamptz, deleted_at timestamptz, last_seen_at timestamptz,
    _row_hash varchar, _dlt_load_id varchar);
insert into orgx.tasks values
    ('a', 'first', 'x', 'y', '{{"n": 1}}', '2026-11-01', '2026-11-19', null, null, '{HASH}', '1'),
    ('b', 'second', null, 'y', null, '2026-11-02', '2026-11-18', null, null, null, '1'),
    ('c', 'third', null, null, null, '2026-11-03', '2026-11-18', '2026-11-18', '2026-11-17', '{HASH}', '2');
create table orgx.tasks_history as
    select * exclude (last_changed_at, last_seen_at), last_changed_at as valid_from from orgx.tasks;
create table orgx.activity (id varchar, last_changed_at timestamptz, _dlt_load_id varchar);
insert into orgx.activity values ('e', '2026-11-19', '1'), ('f', '2026-11-20', '1');
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warehouse")


@pytest.fixture
def file(place: Path, request: pytest.FixtureRequest) -> Path:
    return place / f"{request.node.name}.duckdb"


@pytest.fixture
def warehouse(file: Path) -> Iterator[Warehouse]:
    with duckdb.connect(str(file)) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(FILLED)
    warehouse = Warehouse(make_pipeline(database=file))
    yield warehouse
    warehouse.close()


def change(file: Path, sql: str) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(sql)


def types(table: Any) -> ColumnTypes:
    return ColumnTypes(table)


def test_rows_are_known_by_hash_deletion_and_the_first_workspace_that_they_name(warehouse: Warehouse) -> None:
    known = warehouse.known_rows(TASKS, types(TASKS))
    assert {row_id: (row.row_hash, row.deleted, row.workspace) for row_id, row in known.items()} == {
        "a": (HASH, False, "x"), "b": ("", False, "y"), "c": (HASH, True, None),
    }  # fmt: skip
    assert list(warehouse.known_rows(ACTIVITY, types(ACTIVITY))) == ["e", "f"]


def test_a_table_that_is_not_there_is_empty(warehouse: Warehouse) -> None:
    decisions = TABLES["decisions"]
    assert len(warehouse.known_rows(decisions, types(decisions))) == 0
    assert warehouse.newest_stamp(decisions) is None
    assert warehouse.count_living(decisions) == 0
    assert warehouse.columns("decisions") is None
    assert warehouse.versions_in_doubt(decisions) is None
    assert warehouse.ids_made_after(decisions, types(decisions), NOW, NOW) == []
    assert warehouse.describe(decisions) == (0, 0, None)
    assert warehouse.read_log(["run_id"]) == []


def test_history_that_agrees_is_not_looked_at(warehouse: Warehouse) -> None:
    assert warehouse.versions_in_doubt(TASKS) is None
    assert warehouse.versions_in_doubt(ACTIVITY) is None


@pytest.mark.parametrize(
    "sql",
    [
        "update orgx.tasks set _dlt_load_id = '3' where id = 'a'",
        "update orgx.tasks_history set _dlt_load_id = '9' where id = 'a'",
        "delete from orgx.tasks_history where id = 'a'",
        "delete from orgx.tasks where id = 'a'",
    ],
)
def test_history_is_looked_at_after_a_load_that_did_not_end_or_where_one_side_lacks_a_row(
    warehouse: Warehouse, file: Path, sql: str
) -> None:
    change(file, sql)
    versions = warehouse.versions_in_doubt(TASKS)
    assert versions is not None
    assert versions["b"].since == datetime(2026, 11, 18, tzinfo=UTC)
    assert (versions["c"].deleted, versions["c"].row_hash) == (True, HASH)


def test_of_each_row_the_latest_version_is_told(warehouse: Warehouse, file: Path) -> None:
    change(
        file,
        "insert into orgx.tasks_history by name select * replace ('2026-11-19T12:00:00Z' as valid_from, 'z' as "
        "_row_hash) from orgx.tasks_history where id = 'b'; update orgx.tasks set _dlt_load_id = '3'",
    )
    versions = warehouse.versions_in_doubt(TASKS)
    assert versions is not None
    assert (versions["b"].row_hash, versions["b"].since) == ("z", datetime(2026, 11, 19, 12, tzinfo=UTC))


def test_a_table_without_its_history_lacks_every_version(warehouse: Warehouse, file: Path) -> None:
    change(file, "drop table orgx.tasks_history")
    assert warehouse.versions_in_doubt(TASKS) == {}


def test_loads_count_when_they_were_completed_and_until_they_are_revoked(warehouse: Warehouse) -> None:
    assert [warehouse.has_loads([name]) for name in ("1", "3", "9")] == [True, False, False]
    assert warehouse.newest_load() == "2"
    warehouse.revoke_loads(["2", "9"])
    assert not warehouse.has_loads(["1", "2"])
    assert warehouse.newest_load() == "1"


def test_the_newest_time_is_that_of_any_version(warehouse: Warehouse, file: Path) -> None:
    assert warehouse.newest_stamp(TASKS) == datetime(2026, 11, 19, tzinfo=UTC)
    change(file, "update orgx.tasks_history set valid_from = '2026-11-25' where id = 'c'")
    assert warehouse.newest_stamp(TASKS) == datetime(2026, 11, 25, tzinfo=UTC)
    assert warehouse.newest_stamp(ACTIVITY) == datetime(2026, 11, 20, tzinfo=UTC)


def test_living_rows_are_counted_and_described(warehouse: Warehouse) -> None:
    assert (warehouse.count_living(TASKS), warehouse.count_living(ACTIVITY)) == (2, 2)
    count, gone, changed = warehouse.describe(TASKS)
    assert (count, gone) == (2, 1)
    assert changed is not None
    assert changed.astimezone(UTC) == datetime(2026, 11, 19, tzinfo=UTC)


def test_ids_are_told_of_living_rows_made_between_two_times(warehouse: Warehouse) -> None:
    first, second = (datetime(2026, 11, day, tzinfo=UTC) for day in (1, 2))
    before, after = first - timedelta(seconds=1), second + timedelta(days=30)
    assert warehouse.ids_made_after(TASKS, types(TASKS), before, after) == ["a", "b"]
    assert warehouse.ids_made_after(TASKS, types(TASKS), first, after) == ["b"]
    assert warehouse.ids_made_after(TASKS, types(TASKS), before, second) == ["a"]
    assert warehouse.ids_made_after(ACTIVITY, types(ACTIVITY), before, after) == []


def test_stored_rows_come_back_as_they_were_loaded(warehouse: Warehouse) -> None:
    (rows,) = warehouse.fetch_rows(TASKS, ["a", "nobody"], types(TASKS))
    (row,) = rows.to_pylist()
    assert (row["title"], row["metadata"], row["created_at"]) == (
        "first", '{"n":1}', datetime(2026, 11, 1, tzinfo=UTC),
    )  # fmt: skip
    assert "_dlt_load_id" not in row


def test_the_view_of_versions_says_until_when_each_held_and_gets_new_columns(warehouse: Warehouse, file: Path) -> None:
    change(
        file,
        "insert into orgx.tasks_history by name select * replace ('2026-11-25' as valid_from) from orgx.tasks_history "
        "where id = 'a'",
    )
    warehouse.make_views([TASKS, ACTIVITY])
    sql = 'select valid_to is null, is_current from {view} where "id" = \'a\' order by "valid_from"'
    view = warehouse.with_client(lambda client: client.make_qualified_table_name("tasks_versions"))
    assert warehouse.with_client(lambda client: client.execute_sql(sql.format(view=view))) == [
        (False, False), (True, True),
    ]  # fmt: skip
    change(file, "alter table orgx.tasks_history add column mood varchar")
    warehouse.make_views([TASKS])
    assert "mood" in (warehouse.columns("tasks_versions") or [])


def test_a_database_that_cannot_replace_a_view_drops_it_first(
    warehouse: Warehouse, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace_view(dialect: Any, client: Any, view: str, select: str, table: str) -> list[str]:
        path = client.make_qualified_table_name(view)
        return [f"drop view if exists {path}", f"create view {path} as select {select} from orgx.{table}"]

    monkeypatch.setattr(DuckDBFile, "replace_view", replace_view)
    warehouse.make_views([TASKS])
    change(file, "alter table orgx.tasks_history add column colour varchar")
    warehouse.make_views([TASKS])
    assert "colour" in (warehouse.columns(TASKS.versions) or [])


def test_the_log_is_told_oldest_first_with_the_columns_that_it_has(warehouse: Warehouse, file: Path) -> None:
    change(
        file,
        "create table orgx.sync_log as select 'two' as run_id, timestamptz '2026-11-20' as started_at union all "
        "select 'one', timestamptz '2026-11-19'",
    )
    assert [row["run_id"] for row in warehouse.read_log(["run_id", "started_at", "verdict"])] == ["one", "two"]


def test_a_file_and_a_dataset_of_one_name_are_no_trouble_for_this_destination(warehouse: Warehouse) -> None:
    warehouse.check_names()
    warehouse.check_writable()
    assert warehouse.columns("_orgx_check") is None


def sound_file(place: Path) -> bytes:
    path = place / "sound.duckdb"
    if not path.exists():
        with duckdb.connect(str(path)) as connection:
            connection.execute("create table t as select range as i, md5(range::varchar) as h from range(100_000)")
    return path.read_bytes()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sound: sound[: len(sound) // 2],
        lambda sound: sound[:5000],
        lambda sound: b"",
        lambda sound: b"id,title\n" * 2000,
        lambda sound: sound[:12] + b"\xff\x03" + sound[14:],
        lambda sound: sound[:4100] + bytes(100) + sound[4200:8200] + bytes(100) + sound[8300:],
    ],
    ids=["half", "head-only", "empty", "text", "newer", "damaged"],
)
def test_a_file_that_is_damaged_is_for_a_person_to_mend(file: Path, place: Path, spoil: Any) -> None:
    file.write_bytes(spoil(sound_file(place)))
    with pytest.raises(ConfigError, match="Restore it from a backup, or move it away"):
        # A file may open whose rows are gone.
        Warehouse(make_pipeline(database=file)).with_client(lambda client: client.execute_sql("select max(h) from t"))


def test_a_log_that_is_damaged_is_for_a_person_to_mend(file: Path) -> None:
    log = file.with_name(f"{file.name}.wal")
    fill = "c.execute('pragma disable_checkpoint_on_shutdown; create table t as select range r from range(9000)')"
    code = f"import duckdb, os; c = duckdb.connect({str(file)!r}); {fill}; os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    sound = log.read_bytes()
    log.write_bytes(sound[:60] + bytes(16) + sound[76:])
    with pytest.raises(ConfigError, match=r"Move the file that ends with \.wal away"):
        Warehouse(make_pipeline(database=file)).with_client(lambda client: client.execute_sql("select 1"))
    log.unlink()
    assert Warehouse(make_pipeline(database=file)).with_client(lambda client: client.execute_sql("select 1")) == [(1,)]


NAMES = [
    "main.duckdb", "temp.duckdb", "system.duckdb", "orgx.duckdb", "a-b.duckdb", "a.b.duckdb", "a b.duckdb", "1x.duckdb",
    "größe.duckdb", 'q"x.duckdb', "q'x.duckdb", ".hidden.duckdb", "none",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    with duckdb.connect(str(tmp_path / name)) as connection:
        (catalog,) = connection.execute("select current_database()").fetchall()[0]
        quoted = '"' + catalog.replace('"', '""') + '"'
        connection.execute(FILLED.replace("schema orgx", f"schema {quoted}.orgx").replace(" orgx.", f" {quoted}.orgx."))
    warehouse = Warehouse(make_pipeline(database=tmp_path / name))
    warehouse.check_names()
    assert warehouse.with_client(lambda client: client.catalog_name(quote=False)) == catalog
    assert warehouse.count_living(TASKS) == 2
    assert warehouse.columns_of(["activity", "x"]) == {"activity": ["id", "last_changed_at", "_dlt_load_id"], "x": None}
    warehouse.close()


def test_a_file_named_like_a_schema_that_every_file_has_is_refused(
    tmp_path: Path,
) -> None:
    warehouse = Warehouse(make_pipeline(database=tmp_path / "information_schema.duckdb"))
    with pytest.raises(ConfigError, match="Rename the file"):
        warehouse.check_names()
    warehouse.close()


@pytest.mark.parametrize("dataset", ["temp", "system", "information_schema", "pg_catalog", "Temp"])
def test_a_dataset_that_duckdb_keeps_for_itself_is_refused_before_anything_is_read(file: Path, dataset: str) -> None:
    warehouse = Warehouse(make_pipeline(dataset=dataset, database=file))
    with pytest.raises(ConfigError, match="reserved by the database"):
        warehouse.check_names()
    warehouse.close()


@pytest.mark.parametrize(("wanted", "is_old"), [(None, True), ("compatible", True), ("newest", False)])
def test_a_new_file_can_be_read_by_older_versions_unless_the_newest_format_is_wanted(
    file: Path, wanted: str | None, is_old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wanted:
        monkeypatch.setenv("SOURCES__ORGX__DUCKDB_FORMAT", wanted)
    Warehouse(make_pipeline(database=file)).check_writable()
    for _ in range(2):
        # The version of the storage; 64 is that of DuckDB 1.0.
        assert (int.from_bytes(file.read_bytes()[12:20], "little") == 64) == is_old
        # A file keeps its format.
        monkeypatch.delenv("SOURCES__ORGX__DUCKDB_FORMAT", raising=False)
        Warehouse(make_pipeline(database=file)).check_writable()


def test_a_format_that_does_not_exist_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__ORGX__DUCKDB_FORMAT", "old")
    with pytest.raises(ConfigError, match="compatible or newest"):
        make_pipeline(database=file)
