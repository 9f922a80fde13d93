"""From rows to pieces: what is written of which rows, one at a time or thousands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orgx_source.reading import intake as intake_module
from orgx_source.reading.changes import Changes
from orgx_source.reading.intake import Intake, runs_without_repeats
from orgx_source.reading.scope import Sight
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.tables import TABLES, Table
from tests.unit.memory_warehouse import MemoryWarehouse

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
TASKS = TABLES["tasks"]


def row(name: str, **values: Any) -> dict[str, Any]:
    return {"id": name, "title": name, "updated_at": "2026-11-19T10:00:00Z", **values}


def open_intake(warehouse: MemoryWarehouse, table: Table = TASKS, workspace_id: str | None = None) -> Intake:
    changes = Changes(table, warehouse, ColumnTypes(table), lambda: NOW)
    intake = Intake(table, changes, Sight(workspace_id, "own", set), workspace_id)
    intake.begin("load-1")
    return intake


@pytest.mark.parametrize(
    ("ids", "runs"),
    [
        ("", []),
        ("a", [(0, 1)]),
        ("abc", [(0, 3)]),
        ("aa", [(0, 1), (1, 2)]),
        ("abcadb", [(0, 3), (3, 6)]),
        ("abba", [(0, 2), (2, 4)]),
        ("aab", [(0, 1), (1, 3)]),
    ],
)
def test_rows_are_split_where_one_comes_again(ids: str, runs: list[tuple[int, int]]) -> None:
    assert runs_without_repeats(ids) == runs


def test_a_single_row_becomes_a_row_and_its_version() -> None:
    pieces = open_intake(MemoryWarehouse()).take([row("a", status="todo", note="new")])
    assert [piece.history for piece in pieces] == [False, True]
    assert [piece.undeclared for piece in pieces] == [{"note": "text"}, {"note": "text"}]
    written = pieces[0].rows.to_pylist()[0]
    assert (written["id"], written["status"], written["note"]) == ("a", "todo", "new")
    assert (written["_dlt_load_id"], written["last_changed_at"]) == ("load-1", NOW)
    assert pieces[1].rows.to_pylist()[0]["valid_from"] == NOW


def test_a_row_that_is_known_and_equal_becomes_nothing() -> None:
    warehouse = MemoryWarehouse()
    warehouse.write(open_intake(warehouse).take([row("a"), row("b")]), "load-1")
    again = open_intake(warehouse)
    assert again.take([row("a"), row("b", status="done")])[0].rows.column("id").to_pylist() == ["b"]
    assert again.rows_met == 2


def test_a_row_that_comes_twice_becomes_two_versions_the_later_one_last() -> None:
    warehouse = MemoryWarehouse()
    warehouse.write(open_intake(warehouse).take([row("a", status="todo"), row("b"), row("a", status="done")]), "load-1")
    assert warehouse.rows["a"]["status"] == "done"
    assert [version["status"] for version in warehouse.history if version["id"] == "a"] == ["todo", "done"]
    first, second = (version["valid_from"] for version in warehouse.history if version["id"] == "a")
    assert first < second


def test_rows_wait_until_they_are_worth_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(intake_module, "BATCH_ROWS", 4)
    intake = open_intake(MemoryWarehouse())
    given = [len(list(intake.gather([row(f"{number}")]))) for number in range(5)]
    assert given == [0, 0, 0, 2, 0]
    assert intake.rows_met == 5
    rest = list(intake.flush())
    assert [piece.rows.num_rows for piece in rest] == [1, 1]
    assert list(intake.flush()) == []


def test_the_size_is_that_of_the_stretch() -> None:
    intake = open_intake(MemoryWarehouse())
    intake.take([row("a")])
    assert intake.size > 0
    intake.begin("load-2")
    assert intake.size == 0
    assert intake.take([row("b")])[0].rows.column("_dlt_load_id").to_pylist() == ["load-2"]


def test_the_newest_change_is_that_of_all_rows_of_those_without_one_their_creation() -> None:
    intake = open_intake(MemoryWarehouse())
    assert intake.newest is None
    intake.take([row("a"), row("b", updated_at=None, created_at="2026-11-19T11:00:00Z")])
    assert intake.newest == datetime(2026, 11, 19, 11, tzinfo=UTC)
    intake.take([row("c", updated_at="2026-11-18T00:00:00Z")])
    assert intake.newest == datetime(2026, 11, 19, 11, tzinfo=UTC)


def test_an_event_is_as_new_as_its_own_time() -> None:
    intake = open_intake(MemoryWarehouse(), TABLES["activity"])
    pieces = intake.take([{"id": "e", "timestamp": "2026-11-19T12:00:00Z"}])
    assert intake.newest == datetime(2026, 11, 19, 12, tzinfo=UTC)
    assert [piece.history for piece in pieces] == [False]


def test_rows_of_another_workspace_are_left_alone() -> None:
    intake = open_intake(MemoryWarehouse(), workspace_id="x")
    pieces = intake.take([row("a", workspace_id="x"), row("b", workspace_id="y")])
    assert pieces[0].rows.column("id").to_pylist() == ["a"]
    assert intake.take([row("c", workspace_id="y")]) == []


def test_what_a_route_does_not_tell_stays_as_it_is_stored() -> None:
    warehouse = MemoryWarehouse()
    warehouse.write(open_intake(warehouse).take([row("a", description="long", status="todo")]), "load-1")
    intake = open_intake(warehouse)
    intake.partial = True
    warehouse.write(intake.take([row("a", status="done"), row("b", status="todo")]), "load-2")
    assert (warehouse.rows["a"]["description"], warehouse.rows["a"]["status"]) == ("long", "done")
    assert warehouse.rows["b"]["description"] is None
