"""What a table remembers, and when that is believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orgx_source.api.listing import Position
from orgx_source.reading.doubts import Doubt
from orgx_source.reading.scope import Look, Looks
from orgx_source.reading.table_state import Origin, Resume, TableState

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
HERE = Origin("/api/entities?type=task", "workspace")
DOUBT = Doubt("2026-11-20", 2, 4, ("a", "b"), "/tasks", "key")
PLACE = Resume(Position(900, 1_790_000_000.5, tied=True), started=NOW, began_at=NOW, candidates=frozenset({"b", "a"}))


def state(stored: dict[str, Any], load_id: str = "load", arrived: bool = True) -> TableState:
    return TableState(stored, load_id, lambda loads: arrived and set(loads) <= {"load"}, NOW)


def settled(**more: Any) -> dict[str, Any]:
    stored: dict[str, Any] = {}
    state(stored).settle(HERE, cursor=NOW, whole_at=NOW, first_workspace="first")
    return stored | more


def test_nothing_is_known_at_first() -> None:
    empty = state({})
    assert (empty.cursor, empty.read_at, empty.whole_read_at, empty.looked_back_at) == (None, None, None, None)
    assert (empty.doubt, empty.older) == (None, {})
    assert empty.orders(HERE.route)
    assert not empty.was_cut_short
    assert not empty.is_of(HERE)
    assert empty.resume(HERE, full=False) is None
    assert empty.first_workspace("own") == "own"


def test_two_doors_are_apart_until_one_read_meets_ids_of_both() -> None:
    stored: dict[str, Any] = {}
    known = state(stored)
    assert (known.doors_apart, known.doors_meet(lambda _: True)) == (False, False)
    known.note_doors_apart([f"one-{number}" for number in range(1000)], ["two-0"])
    sides = json.loads(json.dumps(stored))["doors_apart"]
    assert [len(ids) for ids in sides] == [91, 1]
    assert not known.doors_meet(lambda row_id: row_id.startswith("one"))
    assert not known.doors_meet(lambda row_id: row_id.startswith("two"))
    assert known.doors_apart
    assert known.doors_meet(lambda row_id: row_id in ("one-990", "two-0"))
    assert (known.doors_apart, stored) == (False, {})


def test_two_doors_that_an_earlier_version_found_apart_stay_so() -> None:
    known = state({"doors_apart": True})
    assert not known.doors_meet(lambda _: True)
    assert known.doors_apart


def test_what_was_settled_is_known() -> None:
    known = state(settled())
    assert (known.cursor, known.whole_read_at) == (NOW, NOW)
    assert known.first_workspace("own") == "first"
    assert known.is_of(HERE)


@pytest.mark.parametrize(
    ("stored", "origin", "arrived"),
    [
        ({"version": 1}, HERE, True),
        ({}, Origin("/another", "workspace"), True),
        ({}, Origin(HERE.route, "another"), True),
        ({}, Origin(HERE.route, HERE.workspace_id, key="another"), True),
        ({}, HERE, False),
        ({"load_id": "another"}, HERE, True),
        ({"builds_on": ["lost", "load"]}, HERE, True),
    ],
)
def test_it_is_not_believed_of_another_origin_version_or_load(
    stored: dict[str, Any], origin: Origin, *, arrived: bool
) -> None:
    assert not state(settled(**stored), arrived=arrived).is_of(origin)


def test_a_cursor_or_whole_read_that_is_not_told_stays() -> None:
    stored = settled()
    state(stored).settle(HERE, cursor=None, whole_at=None, first_workspace="second")
    known = state(stored)
    assert (known.cursor, known.whole_read_at, known.first_workspace("own")) == (NOW, NOW, "first")


def test_settling_forgets_where_a_read_was_cut_short() -> None:
    stored: dict[str, Any] = {}
    cut = state(stored)
    cut.cut_short(long=True)
    cut.keep_place(PLACE, HERE, full=False)
    assert state(stored).was_cut_short
    assert state(stored).resume(HERE, full=False) == PLACE
    cut.settle(HERE, cursor=None, whole_at=None, first_workspace="first")
    assert not state(stored).was_cut_short
    assert state(stored).resume(HERE, full=False) is None


@pytest.mark.parametrize(
    ("kept_full", "asked_full", "goes_on"),
    [(False, False, True), (False, True, False), (True, True, True), (True, False, True)],
)
def test_a_read_of_everything_goes_on_only_with_one_of_its_kind(
    *, kept_full: bool, asked_full: bool, goes_on: bool
) -> None:
    stored: dict[str, Any] = {}
    state(stored).keep_place(PLACE, HERE, full=kept_full)
    assert (state(stored).resume(HERE, full=asked_full) is not None) is goes_on


@pytest.mark.parametrize(
    "damage", [{"started": None}, {"began_at": "?"}, {"route": "/another"}, {"load_id": "lost"}, {"version": 1}]
)
def test_a_place_that_is_damaged_or_of_another_origin_is_none(damage: dict[str, Any]) -> None:
    stored: dict[str, Any] = {}
    state(stored).keep_place(PLACE, HERE, full=False)
    stored["resume"] |= damage
    assert state(stored).resume(HERE, full=False) is None


def test_who_saw_the_rows_is_remembered_in_either_form() -> None:
    stored: dict[str, Any] = {}
    known = state(stored)
    assert known.looks == Looks()
    look = Look("k", "a", filtered=True)
    for looks in (Looks({"": look, "a": Look("k")}, {"x": look, "y": Look("o"), "z": look}), Looks({"": look}, more=9)):
        known.looks = looks
        assert state(json.loads(json.dumps(stored))).looks == looks
    known.looks = Looks()
    assert "set_aside" not in stored


def test_whether_a_filter_is_obeyed_and_whose_ids_are_plain_is_remembered() -> None:
    stored = settled()
    known = state(stored)
    assert (known.obeys_filter, known.ids_home("b"), state({}).ids_home("b")) == (True, HERE.workspace_id, "b")
    known.obeys_filter = False
    known.keep_ids_home("c")
    assert (state(stored).obeys_filter, state(stored).ids_home("b")) == (False, "c")
    known.obeys_filter = True
    assert "filter_ignored" not in stored


def test_a_filter_makes_another_origin_unless_an_earlier_version_remembered_it() -> None:
    stored = settled()
    filtered = Origin(HERE.route, HERE.workspace_id, filtered=True)
    assert not state(stored).is_of(filtered)
    del stored["filtered"]
    assert state(stored).is_of(filtered)


def test_a_place_is_that_of_its_key_unless_an_earlier_version_remembered_it() -> None:
    stored: dict[str, Any] = {}
    state(stored).keep_place(PLACE, Origin(HERE.route, HERE.workspace_id, key="k"), full=False)
    assert state(stored).resume(HERE, full=False) is None
    del stored["resume"]["key"]
    assert state(stored).resume(HERE, full=False) == PLACE


def test_a_read_of_changes_that_is_cut_short_counts_when_it_was_long_or_happens_twice() -> None:
    stored: dict[str, Any] = {}
    state(stored).cut_short(long=False)
    assert not state(stored).was_cut_short
    state(stored).cut_short(long=False)
    assert state(stored).was_cut_short


def test_what_is_settled_builds_on_the_loads_before_it_and_a_whole_read_only_on_its_own() -> None:
    stored: dict[str, Any] = {}
    for load_id in ("1", "2"):
        TableState(stored, load_id, lambda loads: True).keep_place(PLACE, HERE, full=False)
    assert stored["resume"]["builds_on"] == ["1", "2"]
    TableState(stored, "3", lambda loads: True).settle(HERE, cursor=NOW, whole_at=NOW, first_workspace="a")
    TableState(stored, "4", lambda loads: True).settle(HERE, cursor=NOW, whole_at=None, first_workspace="a")
    assert stored["builds_on"] == ["1", "2", "3", "4"]
    asked: list[Any] = []
    assert TableState(stored, "5", lambda loads: not asked.append(set(loads))).is_of(HERE)
    assert asked == [{"1", "2", "3", "4"}]
    begun = TableState(stored, "5", lambda loads: True)
    begun.begin_anew()
    begun.settle(HERE, cursor=NOW, whole_at=NOW, first_workspace="a")
    assert stored["builds_on"] == ["5"]


def test_a_time_that_lies_ahead_of_the_clock_is_not_believed() -> None:
    later = NOW + timedelta(days=2)
    stored = settled(cursor=later.isoformat(), whole_read_at=later.isoformat(), read_at=later.isoformat())
    known = state(stored)
    assert (known.cursor, known.whole_read_at, known.read_at) == (None, None, None)
    assert state(settled(cursor=(NOW + timedelta(hours=1)).isoformat())).cursor == NOW + timedelta(hours=1)


def test_a_route_that_did_not_keep_its_order_is_remembered_until_it_does() -> None:
    stored: dict[str, Any] = {}
    state(stored).note_order("/a", True)
    assert stored == {}
    state(stored).note_order("/a", False)
    state(stored).note_order("/a", None)
    state(stored).note_order("/b", True)
    assert (state(stored).orders("/a"), state(stored).orders("/b")) == (False, True)
    state(stored).note_order("/a", True)
    assert state(stored).orders("/a")


def test_the_end_of_a_read_and_what_was_doubted_are_remembered_and_forgotten() -> None:
    stored: dict[str, Any] = {"vanished": ["of an earlier version"]}
    known = state(stored)
    known.finish(NOW)
    known.note_look_back(NOW)
    known.doubt = DOUBT
    known.older = {"a": "hash"}
    assert (state(stored).read_at, state(stored).looked_back_at) == (NOW, NOW)
    assert (state(stored).doubt, state(stored).older) == (DOUBT, {"a": "hash"})
    known.doubt = None
    known.older = {}
    assert set(stored) == {"read_at", "looked_back_at"}
