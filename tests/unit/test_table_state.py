"""What a table remembers, and when that is believed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orgx_source.api.listing import Position
from orgx_source.reading.table_state import Origin, Resume, TableState

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
HERE = Origin("/api/entities?type=task", "workspace")
PLACE = Resume(Position(900, 1_790_000_000.5, tied=True), started=NOW, began_at=NOW, candidates=frozenset({"b", "a"}))


def state(stored: dict[str, Any], load_id: str = "load", arrived: bool = True) -> TableState:
    return TableState(stored, load_id, lambda load: arrived and load == "load")


def settled(**more: Any) -> dict[str, Any]:
    stored: dict[str, Any] = {}
    state(stored).settle(HERE, cursor=NOW, whole_at=NOW, first_workspace="first")
    return stored | more


def test_nothing_is_known_at_first() -> None:
    empty = state({})
    assert (empty.cursor, empty.read_at, empty.whole_read_at, empty.vanished) == (None, None, None, frozenset())
    assert not empty.was_cut_short
    assert not empty.is_of(HERE)
    assert empty.resume(HERE, full=False) is None
    assert empty.first_workspace("own") == "own"


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
        ({}, HERE, False),
        ({"load_id": "another"}, HERE, True),
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
    cut.cut_short()
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


def test_the_end_of_a_read_and_what_vanished_are_remembered_and_forgotten() -> None:
    stored: dict[str, Any] = {}
    known = state(stored)
    known.finish(NOW)
    known.vanished = ["a", "b"]
    assert state(stored).read_at == NOW
    assert state(stored).vanished == {"a", "b"}
    known.vanished = []
    assert "vanished" not in stored
