"""Changes find new, changed, restored and deleted rows, and versions missing from the history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from orgx_source.reading.changes import Batch, Changes, as_history, empty_rows
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.rows.known_rows import KnownRow
from orgx_source.tables import TABLES, Table
from tests.unit.memory_warehouse import MemoryWarehouse

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
TASKS = TABLES["tasks"]


def open_changes(warehouse: MemoryWarehouse, table: Table = TASKS, now: datetime = NOW) -> Changes:
    return Changes(table, warehouse, ColumnTypes(table), lambda: now)


def take(changes: Changes, *rows: dict[str, Any]) -> Batch | None:
    return changes.take(changes.shape(list(rows)))


def fill(*rows: dict[str, Any], table: Table = TASKS) -> MemoryWarehouse:
    warehouse = MemoryWarehouse()
    batch = take(open_changes(warehouse, table), *rows)
    assert batch is not None
    for row in batch.rows.to_pylist():
        warehouse.rows[row["id"]] = row
    return warehouse


def ids(batch: Batch | None) -> list[str]:
    return [] if batch is None else batch.rows.column("id").to_pylist()


def test_rows_that_nobody_knows_are_new() -> None:
    changes = open_changes(MemoryWarehouse())
    batch = take(changes, {"id": "a"}, {"id": "b"})
    assert ids(batch) == ["a", "b"]
    assert batch is not None
    assert batch.history is not None
    assert batch.history.column("id").to_pylist() == ["a", "b"]
    assert (changes.new, changes.changed) == (2, 0)


def test_only_what_differs_is_written_and_counted() -> None:
    changes = open_changes(fill({"id": "a", "title": "x"}, {"id": "b", "title": "x"}))
    assert ids(take(changes, {"id": "a", "title": "x"}, {"id": "b", "title": "y"}, {"id": "c"})) == ["b", "c"]
    assert (changes.new, changes.changed) == (1, 1)
    assert take(changes, {"id": "a", "title": "x"}, {"id": "b", "title": "y"}) is None


def test_what_changes_with_every_read_is_no_change() -> None:
    decisions = TABLES["decisions"]
    changes = open_changes(fill({"id": "a", "waiting_minutes": 1}, table=decisions), decisions)
    assert take(changes, {"id": "a", "waiting_minutes": 2}) is None


def test_an_event_that_is_known_is_never_written_again() -> None:
    activity = TABLES["activity"]
    changes = open_changes(fill({"id": "e", "title": "x"}, table=activity), activity)
    assert take(changes, {"id": "e", "title": "y"}) is None
    batch = take(changes, {"id": "f"})
    assert batch is not None
    assert batch.history is None
    assert "_row_hash" not in batch.rows.column_names


def test_a_deleted_row_that_comes_again_lives_again() -> None:
    warehouse = fill({"id": "a", "title": "x"})
    warehouse.rows["a"]["deleted_at"] = NOW
    changes = open_changes(warehouse)
    assert ids(take(changes, {"id": "a", "title": "x"})) == ["a"]
    assert changes.known["a"].deleted is False


def test_a_later_version_has_a_later_time_whatever_the_clock_says() -> None:
    warehouse = fill({"id": "a", "title": "x"})
    batch = take(open_changes(warehouse, now=NOW - timedelta(hours=1)), {"id": "a", "title": "y"})
    assert batch is not None
    assert batch.rows.column("last_changed_at").to_pylist()[0] > NOW


@pytest.mark.parametrize(("hours", "confirming", "is_taken"), [
    (-1, False, False), (-1, True, False), (0, False, False), (0, True, True), (1, False, True), (1, True, True),
])  # fmt: skip
def test_a_deleted_row_is_restored_by_a_newer_copy_or_by_an_equal_one_that_was_requested(
    hours: int, confirming: bool, is_taken: bool
) -> None:
    warehouse = fill({"id": "a", "title": "x", "updated_at": NOW.isoformat()})
    warehouse.rows["a"]["deleted_at"] = NOW
    changes = open_changes(warehouse)
    changes.confirming = confirming
    came = {"id": "a", "title": "y" if hours else "x", "updated_at": (NOW + timedelta(hours=hours)).isoformat()}
    assert (take(changes, came) is not None) == is_taken
    assert set(changes.older) == (set() if is_taken else {"a"})


def test_a_deleted_row_keeps_its_values_and_says_between_which_reads_it_went() -> None:
    warehouse = fill({"id": "a", "title": "x"}, {"id": "b", "title": "y"})
    changes = open_changes(warehouse)
    (batch,) = changes.delete(["a"], NOW, NOW - timedelta(days=1))
    (row,) = batch.rows.to_pylist()
    assert (row["id"], row["title"], row["deleted_at"], row["last_seen_at"]) == ("a", "x", NOW, NOW - timedelta(days=1))
    assert batch.history is not None
    assert batch.history.to_pylist()[0]["deleted_at"] == NOW
    assert (changes.known["a"].deleted, changes.known["b"].deleted) == (True, False)


def test_history_gets_the_versions_that_it_lacks() -> None:
    warehouse = fill({"id": "a", "title": "x"}, {"id": "b", "title": "y"}, {"id": "c", "title": "z"})
    hashes = {row_id: row["_row_hash"] for row_id, row in warehouse.rows.items()}
    older, newer = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    warehouse.in_doubt = {
        "a": KnownRow("another hash", since=older),
        "b": KnownRow(hashes["b"], since=older),
        # Here history is ahead: the row itself will come again from OrgX.
        "c": KnownRow("another hash", since=newer),
    }
    (lacking,) = open_changes(warehouse).missing_history()
    assert lacking.column("id").to_pylist() == ["a"]
    assert "valid_from" in lacking.column_names
    warehouse.in_doubt = {}
    (all_of_it,) = open_changes(warehouse).missing_history()
    assert sorted(all_of_it.column("id").to_pylist()) == ["a", "b", "c"]
    warehouse.in_doubt = None
    assert list(open_changes(warehouse).missing_history()) == []


def test_a_version_that_history_lacks_is_written_although_the_row_is_equal() -> None:
    warehouse = fill({"id": "a", "title": "x"}, {"id": "b", "title": "y"})
    warehouse.in_doubt = {"b": KnownRow(warehouse.rows["b"]["_row_hash"])}
    changes = open_changes(warehouse)
    batch = take(changes, {"id": "a", "title": "x"}, {"id": "b", "title": "y"})
    assert ids(batch) == ["a"]
    assert batch is not None
    assert batch.history is not None
    assert take(changes, {"id": "a", "title": "x"}) is None


def test_history_that_has_the_version_gets_it_no_second_time() -> None:
    warehouse = fill({"id": "a", "title": "x"})
    changed = open_changes(MemoryWarehouse()).shape([{"id": "a", "title": "y"}])
    warehouse.in_doubt = {"a": KnownRow(changed.hashes[0])}
    batch = take(open_changes(warehouse), {"id": "a", "title": "y"})
    assert ids(batch) == ["a"]
    assert batch is not None
    assert batch.history is None


def test_workspaces_are_told_by_the_first_column_that_names_one() -> None:
    shaped = open_changes(MemoryWarehouse()).shape(
        [{"id": "a", "workspace_id": "x", "command_center_id": "y"}, {"id": "b", "command_center_id": "y"}, {"id": "c"}]
    )
    assert shaped.workspaces == ["x", "y", None]


def test_the_types_of_columns_that_nobody_declared_are_told() -> None:
    changes = open_changes(MemoryWarehouse())
    shaped = changes.shape([{"id": "a", "title": "x", "shoe_size": 44, "is_fun": True}])
    assert changes.undeclared(shaped.rows.column_names) == {"shoe_size": "double", "is_fun": "bool"}


def test_no_rows_have_the_shape_of_their_table() -> None:
    names = empty_rows(TASKS).column_names
    assert names[:2] == ["id", "title"]
    assert names[-5:] == ["last_changed_at", "deleted_at", "last_seen_at", "_row_hash", "_dlt_load_id"]
    assert empty_rows(TABLES["activity"]).column_names[-2:] == ["last_changed_at", "_dlt_load_id"]
    assert "valid_from" in as_history(empty_rows(TASKS)).column_names


def test_of_a_row_that_the_load_brings_already_a_newer_version_waits() -> None:
    changes = Changes(TASKS, fill({"id": "a", "title": "x"}), ColumnTypes(TASKS), lambda: NOW, once=True)
    assert ids(take(changes, {"id": "a", "title": "y"}, {"id": "b"})) == ["a", "b"]
    assert take(changes, {"id": "b"}, {"id": "a", "title": "z"}) is None
    assert changes.waiting == [1]
    changes.known.forget_given()
    assert ids(take(changes, {"id": "a", "title": "z"})) == ["a"]
    assert changes.waiting == []


def test_in_a_load_that_cannot_be_divided_the_newer_version_replaces_the_older() -> None:
    changes = open_changes(MemoryWarehouse())
    first = take(changes, {"id": "a", "title": "x"})
    assert first is not None
    assert ids(take(changes, {"id": "a", "title": "y"})) == ["a"]
    assert changes.replaced == first.rows.column("_row_hash").to_pylist()


def test_a_deletion_that_a_lost_load_wrote_into_the_history_is_not_written_there_again() -> None:
    warehouse = fill({"id": "a"}, {"id": "b"})
    row_hash = warehouse.rows["a"]["_row_hash"]
    warehouse.in_doubt = {"a": KnownRow(row_hash, deleted=True), "b": KnownRow(row_hash)}
    (batch,) = open_changes(warehouse).delete(["a", "b"], NOW, None)
    assert ids(batch) == ["a", "b"]
    assert batch.history is not None
    assert batch.history.column("id").to_pylist() == ["b"]


def test_of_copies_of_one_row_the_newest_is_kept() -> None:
    warehouse = fill({"id": "a", "title": "old"})
    changes = open_changes(warehouse)
    changes.known.doubled = ["a"]
    newer = {**warehouse.rows["a"], "title": "new", "_row_hash": "f" * 16, "last_changed_at": NOW + timedelta(days=1)}
    older = warehouse.rows["a"]
    names = list(older)
    copies = pa.table({name: [newer[name], older[name]] for name in names})
    with mock.patch.object(warehouse, "fetch_rows", lambda table, ids, types: iter([copies])):
        (kept,) = changes.single_copies()
    assert kept.column("title").to_pylist() == ["new"]
    assert (changes.known["a"].row_hash, changes.known.is_given("a")) == ("f" * 16, True)


def tampered(**values: Any) -> tuple[MemoryWarehouse, Changes]:
    warehouse = fill({"id": "a", "title": "x", "metadata": {"n": 1e16}}, {"id": "b", "title": "x"})
    warehouse.rows["a"] |= values
    warehouse.trusted = False
    return warehouse, open_changes(warehouse)


ROWS: list[dict[str, Any]] = [{"id": "a", "title": "x", "metadata": {"n": 1e16}}, {"id": "b", "title": "x"}]


def test_values_that_somebody_changed_are_written_again_once_and_history_is_left_alone() -> None:
    _, changes = tampered(title="wrong")
    batch = take(changes, *ROWS)
    assert batch is not None
    assert (ids(batch), batch.history, changes.changed) == (["a"], None, 1)
    assert batch.rows.column("title").to_pylist() == ["x"]
    assert take(changes, *ROWS) is None


def test_a_warehouse_that_is_trusted_is_not_looked_at() -> None:
    warehouse, _ = tampered(title="wrong")
    warehouse.trusted = True
    assert take(open_changes(warehouse), *ROWS) is None


def test_a_row_that_this_read_has_handed_out_is_not_taken_for_changed_by_hand() -> None:
    _, changes = tampered()
    newer = {**ROWS[0], "title": "y"}
    assert ids(take(changes, newer, ROWS[1])) == ["a"]
    assert take(changes, newer, ROWS[1]) is None


def test_the_columns_that_differ_are_told_and_numbers_are_compared_as_numbers() -> None:
    for values, names in (
        ({}, []),
        ({"metadata": '{"n": 10000000000000000.0}'}, []),
        ({"metadata": '{"n": 10000000000000001}'}, ["metadata"]),
        ({"metadata": '{"n": "1E+16"}'}, ["metadata"]),
        ({"metadata": None}, ["metadata"]),
        ({"title": "", "status": "more", "not_ours": 1}, ["title", "status"]),
        ({"_row_hash": "wrong", "last_changed_at": NOW - timedelta(days=1)}, []),
    ):
        _, changes = tampered(**values)
        assert changes.differing(changes.shape(ROWS)) == ({"a": names} if names else {})
