"""What `orgx-sync export` writes is what the warehouse holds, on DuckDB and on PostgreSQL, in both formats."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

import orgx_source.commands.export
from orgx_source.commands.export import _Column, _file_names, _write_file, export_tables
from orgx_source.errors import OrgxError
from orgx_source.sandbox import Sandbox, World
from orgx_source.tables import TABLES
from tests.e2e.test_command import orgx_sync
from tests.running import DATABASE, JSON_COLUMNS, execute, pipeline, query, stored, sync

pytestmark = pytest.mark.marts

OUT = Path("out")
READ = {name: table for name, table in TABLES.items() if not table.optional}
HISTORIES = {table.history for table in READ.values() if table.keeps_history}
VIEWS = {table.versions for table in READ.values() if table.keeps_history}
OF_THE_DATASET = READ.keys() | HISTORIES | VIEWS | {"sync_log"}


def place(warehouse: str) -> list[str]:
    return ["--database", str(DATABASE)] if warehouse == "duckdb" else ["--destination", "postgres"]


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pyarrow.parquet.read_table(path).to_pylist())
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: json.loads(value) if name in JSON_COLUMNS | {"capabilities", "setup"} else value
        for name, value in row.items()
        if value is not None
    }


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_every_table_and_view_of_both_datasets_becomes_a_file_with_its_rows(
    each_warehouse: str, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orgx_source.commands.export, "ROWS_AT_ONCE", 7)
    with Sandbox(World("small")) as box:
        assert sync(box).exit_code == 0
    done = orgx_sync("export", str(OUT), "--format", file_format, "--json", *place(each_warehouse))
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["files"]
    written = {path.stem for path in (OUT / "orgx").iterdir()}
    assert {path.suffix for path in OUT.rglob("*.*")} == {f".{file_format}"}
    assert written == OF_THE_DATASET
    assert {"org_daily", "initiatives_current"} <= {path.stem for path in (OUT / "orgx_marts").iterdir()}
    assert {Path(file["file"]) for file in files} == {path for path in OUT.rglob("*.*") if path.is_file()}
    for file in files:
        [(count,)] = query(f"select count(*) from {file['dataset']}.{file['table']}")
        assert file["rows"] == count == len(rows_of(Path(file["file"]))), file


def test_parquet_holds_the_same_values_in_types_that_are_the_same_everywhere(
    each_warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The zone of whoever exports changes nothing.
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setattr(orgx_source.commands.export, "ROWS_AT_ONCE", 7)
    with Sandbox(World("small")) as box:
        sync(box)
    files = export_tables(pipeline(), OUT, "parquet")
    for table in READ:
        path = OUT / "orgx" / f"{table}.parquet"
        found = {row["id"]: comparable(row) for row in rows_of(path)}
        assert found == {row_id: comparable(row) for row_id, row in stored(table).items()}, table
    types = pyarrow.parquet.read_schema(OUT / "orgx" / "tasks.parquet")
    assert types.field("created_at").type == pa.timestamp("us", tz="UTC")
    assert types.field("due_date").type == pa.date32()
    assert types.field("sequence").type == pa.int64()
    assert types.field("metadata").type == pa.string()
    marts = [file for file in files if file.dataset == "orgx_marts"]
    kinds = {field.type for file in marts for field in pyarrow.parquet.read_schema(file.path)}
    assert kinds <= {pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("us", tz="UTC")}


def test_a_csv_has_a_header_and_times_in_iso_form_with_their_zone(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box:
        box.world.insert("task", title='Ünlaut, "quoted"\nand on two lines', description="")
        sync(box, ["tasks"])
    export_tables(pipeline(), OUT, "csv", ["tasks"])
    wanted = stored("tasks")
    found = {row["id"]: row for row in rows_of(OUT / "orgx" / "tasks.csv")}
    assert found.keys() == wanted.keys()
    for row_id, row in found.items():
        assert row["title"] == wanted[row_id]["title"]
        assert row["created_at"].endswith("Z") and "T" in row["created_at"]
        assert datetime.fromisoformat(row["created_at"]) == wanted[row_id]["created_at"]
        assert row["due_date"] == str(wanted[row_id].get("due_date", ""))


def test_what_happens_meanwhile_is_in_no_file(each_warehouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["agents", "tasks"])
    write, calls = orgx_source.commands.export._write_file, itertools.count()

    def write_and_meddle(*arguments: Any) -> int:
        if next(calls) == 1:
            execute("delete from orgx.tasks")
        return write(*arguments)

    monkeypatch.setattr(orgx_source.commands.export, "_write_file", write_and_meddle)
    counts = {file.table: file.rows for file in export_tables(pipeline(), OUT, "parquet", ["agents", "tasks"])}
    assert query("select count(*) from orgx.tasks") == [(0,)]
    assert counts["tasks"] > 0


def test_only_the_tables_that_were_named_are_written_and_an_unknown_one_is_exit_2(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks", "agents"])
    done = orgx_sync("export", "out", "--table", "tasks", "--table", "org_daily", *place(each_warehouse))
    assert done.returncode == 0, done.stderr
    assert sorted(str(path) for path in OUT.rglob("*.*")) == [
        "out/orgx/tasks.parquet",
        "out/orgx_marts/org_daily.parquet",
    ]
    assert "out/orgx/tasks.parquet" in done.stdout
    done = orgx_sync("export", "out", "--table", "task", *place(each_warehouse))
    assert done.returncode == 2
    assert "unknown table or view 'task' (did you mean tasks?); known names: " in done.stderr
    assert orgx_sync("export", "out", "--quiet", *place(each_warehouse)).stdout == ""


def test_a_wrong_format_is_exit_2_and_a_missing_database_is_named_and_not_made() -> None:
    assert orgx_sync("export", "out", "--format", "xlsx").returncode == 2
    done = orgx_sync("export", "out", "--database", "nowhere.duckdb")
    assert done.returncode == 4
    assert "nowhere.duckdb does not exist yet; orgx-sync run creates it" in done.stderr
    assert not Path("nowhere.duckdb").exists()
    assert not OUT.exists()


def test_the_defaults_file_and_dataset_of_one_name_are_exported_too() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"], database=Path("orgx.duckdb"))
        count = box.world.count("task")
    done = orgx_sync("export", "out", "--table", "tasks", "--json")
    assert done.returncode == 0, done.stderr
    assert [file["rows"] for file in json.loads(done.stdout)["files"]] == [count]


def test_a_file_that_cannot_be_finished_leaves_the_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
    export_tables(pipeline(), OUT, "parquet", ["tasks"])
    before = (OUT / "orgx" / "tasks.parquet").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(orgx_source.commands.export, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "write_table", full)
    with pytest.raises(OrgxError, match=r"tasks\.parquet could not be written: No space left on device"):
        export_tables(pipeline(), OUT, "parquet", ["tasks"])
    assert [path.name for path in (OUT / "orgx").iterdir()] == ["tasks.parquet"]
    assert (OUT / "orgx" / "tasks.parquet").read_bytes() == before


def test_a_view_that_no_longer_answers_is_named() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
    execute("create table orgx.gone (id integer)", "create view orgx.broken as select * from orgx.gone")
    # The one fails when it is read, the other before.
    execute("create view orgx.wrong as select cast(title as integer) as n from orgx.tasks")
    execute("create table orgx.\"a/b\" as select {'x': [1]} as s, uuid() as u, interval 1 day as i, 'a'::blob as b")
    execute("drop table orgx.gone")
    done = orgx_sync("export", "out", "--database", str(DATABASE), "--table", "tasks")
    assert done.returncode == 0, done.stderr
    done = orgx_sync("export", "out", "--database", str(DATABASE))
    assert done.returncode == 1
    assert "orgx.broken could not be read" in done.stderr and done.stderr.count("could not be read") == 2
    assert not list(OUT.rglob("*.unfinished"))
    assert {path.stem for path in OUT.rglob("*.parquet")} >= {"tasks", "tasks_history", "a_b", "initiatives_current"}
    assert not {path.stem for path in OUT.rglob("*.parquet")} & {"broken", "wrong"}
    document = json.loads(orgx_sync("export", "out", "--json", "--database", str(DATABASE)).stdout)
    assert [file["table"] for file in document["failed"]] == ["broken", "wrong"]
    assert document["exit_code"] == 1


def test_names_that_are_none_of_a_file_get_one_and_no_two_the_same() -> None:
    tables = ["tasks", "Tasks", "a/b", "a_b", "..", "CON", "nul.x", "ä" * 150, "ä" * 151, "trailing. "]
    names = _file_names([("orgx", table) for table in tables] + [("ORGX", "tasks")])
    assert (names["orgx", ""], names["orgx", "tasks"], names["orgx", "a/b"]) == ("orgx", "tasks", "a_b")
    assert names["ORGX", ""].startswith("ORGX_")
    files = [names["orgx", table] for table in tables]
    assert len({file.lower() for file in files}) == len(tables)
    for file in files:
        assert len(file.encode()) < 240 and not file.endswith((".", " ")) and "/" not in file
        assert file.partition(".")[0].lower() not in ("con", "nul")


@pytest.mark.parametrize("guarded", [True, False])
def test_texts_that_look_like_formulas_are_guarded_when_that_is_asked_for(guarded: bool) -> None:
    texts = ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx", "a=b", "", None, "'x"]
    path, columns = Path("x.csv"), [_Column("text", pa.string()), _Column("n", pa.int64())]
    batch = pa.table({"text": texts, "n": [-1] * len(texts)})
    _write_file(path, "csv", columns, [batch], guarded)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [f"'{text}" if guarded and text and text[0] in "=+-@\t\r" else text or "" for text in texts]
    assert [row["text"] for row in rows] == expected
    assert {row["n"] for row in rows} == {"-1"}
    assert orgx_sync("export", "out", "--guard-formulas").returncode == 2


@pytest.mark.parametrize("command", ["report", "export out", "status"])
def test_who_only_reads_reads_beside_a_notebook_that_does(command: str) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["workspaces"])
    hold = f"import duckdb; c = duckdb.connect({str(DATABASE)!r}, read_only=True); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        done = orgx_sync(*command.split(), "--database", str(DATABASE))
        reader.communicate(b"\n")
    assert "open in another process" not in done.stderr
    assert done.returncode == (4 if command == "status" else 0), done.stderr
