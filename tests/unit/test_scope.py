"""Which rows and workspaces a run can see."""

from __future__ import annotations

from typing import Any

import pytest

from orgx_source.api.route_reader import row_keys
from orgx_source.reading.scope import (
    MAX_SET_ASIDE,
    NOBODY,
    LocalIds,
    Look,
    Looks,
    Sight,
    comparable_total,
    key_digest,
    may_be_deleted,
    remembered,
    rows_in_workspace,
)
from orgx_source.rows.known_rows import KnownRow, KnownRows
from orgx_source.tables import TABLES

TASKS = TABLES["tasks"]


def test_without_a_workspace_every_row_is_kept() -> None:
    rows = [{"id": "a", "workspace_id": "x"}, {"id": "b"}]
    assert rows_in_workspace(TASKS, rows, None) is rows


def test_rows_of_the_workspace_and_rows_that_name_none_are_kept() -> None:
    rows = [
        {"id": "own", "workspace_id": "x"},
        {"id": "camel", "workspaceId": "x"},
        {"id": "capitals", "workspace_id": "X"},
        {"id": "older name", "commandCenterId": "x"},
        {"id": "both names", "workspace_id": "y", "command_center_id": "x"},
        {"id": "none"},
        {"id": "null", "workspace_id": None},
        {"id": "empty", "workspace_id": ""},
        {"id": "no text", "workspace_id": 7},
        {"id": "other", "workspace_id": "y"},
    ]
    kept = [row["id"] for row in rows_in_workspace(TASKS, rows, "x")]
    assert kept == ["own", "camel", "capitals", "older name", "both names", "none", "null", "empty", "no text"]


def never() -> set[str]:
    raise AssertionError("OrgX was asked")


def test_the_workspace_that_was_asked_for_is_all_that_is_seen() -> None:
    sight = Sight("x", "own", never)
    assert sight.sees("x")
    assert sight.sees("X")
    assert not sight.sees("own")
    assert not sight.sees(None)


def test_the_own_workspace_no_workspace_and_those_of_rows_that_came_need_no_question() -> None:
    sight = Sight(None, "own", never)
    sight.note(["a", None, ""])
    assert [sight.sees(name) for name in ("own", None, "a")] == [True, True, True]


def test_orgx_is_asked_for_any_other_workspace() -> None:
    sight = Sight(None, "own", lambda: {"listed"})
    assert sight.sees("listed")
    assert not sight.sees("foreign")


# Looks: a key in workspace A, with and without the filter; another key; the key in workspace B.
OURS, FILTERED = Look("k", "a"), Look("k", "a", filtered=True)
OTHER, ELSEWHERE = Look("o", "a"), Look("k", "b")


@pytest.mark.parametrize(
    ("look", "last", "expected", "with_full"),
    [
        (OURS, OURS, True, True),
        (OURS, FILTERED, True, True),
        (FILTERED, FILTERED, True, True),
        # The user's word is about keys, not about what another workspace holds.
        (FILTERED, OURS, False, False),
        (OURS, OTHER, False, True),
        (OURS, ELSEWHERE, False, False),
        (FILTERED, Look("k", "b", filtered=True), False, False),
        # Nobody knows who saw them.
        (OURS, NOBODY, False, True),
        (FILTERED, NOBODY, False, False),
        # Nobody knows where: as earlier versions left it.
        (OURS, Look("k"), True, True),
        (FILTERED, Look("k"), False, False),
    ],
)
def test_a_look_covers_another(look: Look, last: Look, *, expected: bool, with_full: bool) -> None:
    assert look.covers(last, full=False) is expected
    assert look.covers(last, full=True) is with_full
    assert Look.parse(str(look)) == look
    assert Look.parse(str(last)) == last


@pytest.mark.parametrize(
    ("look", "before", "full", "gone", "aside"),
    [
        # Nothing is recorded yet: as it always was, and with a filter nothing is known of rows that name no workspace.
        (OURS, Looks(), False, {"named", "nameless"}, {}),
        (FILTERED, Looks(), False, {"named"}, {"nameless": Look("k")}),
        (OURS, Looks({"": OURS, "a": Look("k")}), False, {"named", "nameless"}, {}),
        (OURS, Looks({"": OTHER, "a": Look("k")}), False, {"named"}, {"nameless": OTHER}),
        (OURS, Looks({"": OURS, "a": Look("o")}), False, {"nameless"}, {"named": Look("o")}),
        (OURS, Looks({"": OTHER, "a": Look("o")}), True, {"named", "nameless"}, {}),
        (OURS, Looks({"": ELSEWHERE, "a": Look("k")}), True, {"named"}, {"nameless": ELSEWHERE}),
        # Set aside earlier: until the look that saw them is taken again.
        (OURS, Looks({"": OURS, "a": Look("k")}, {"named": Look("o"), "nameless": OTHER}), False, set(),
         {"named": Look("o"), "nameless": OTHER}),
        (OTHER, Looks({"": OURS, "a": Look("k")}, {"named": Look("o"), "nameless": OTHER}), False,
         {"named", "nameless"}, {}),
        # Too many to name.
        (OURS, Looks({"": OURS, "a": Look("k")}, more=9_000), False, set(), {"named": NOBODY, "nameless": NOBODY}),
        (OURS, Looks({"": OURS, "a": Look("k")}, more=9_000), True, {"named", "nameless"}, {}),
    ],
)  # fmt: skip
def test_rows_that_were_not_seen_go_or_are_set_aside(
    look: Look, before: Looks, gone: set[str], aside: dict[str, Look], *, full: bool
) -> None:
    found, left = may_be_deleted([("named", "A"), ("nameless", None)], look, before, full=full)
    assert (set(found), left) == (gone, aside)


def test_a_read_is_remembered_for_the_workspaces_that_it_saw_and_what_is_set_aside_is_bounded() -> None:
    before = Looks({"": OTHER, "b": Look("o")})
    few = remembered(before, OURS, ["A", None], {"x": OTHER})
    assert few == Looks({"": OURS, "a": Look("k"), "b": Look("o")}, {"x": OTHER})
    many = remembered(before, OURS, [], {str(number): OTHER for number in range(MAX_SET_ASIDE + 1)})
    assert many == Looks(before.last, more=MAX_SET_ASIDE + 1)


@pytest.mark.parametrize(
    ("total", "foreign", "whole", "obeyed", "expected"),
    [
        (None, 0, True, True, None),
        (9, 0, True, True, 9),
        (9, 0, False, True, 9),
        (9, 4, True, False, 5),
        (9, 4, False, False, None),
        (9, 0, False, False, None),
        (3, 4, True, False, 0),
    ],
)
def test_what_orgx_counts_of_a_workspace(
    total: int | None, foreign: int, expected: int | None, *, whole: bool, obeyed: bool
) -> None:
    assert comparable_total(total, foreign, whole=whole, obeyed=obeyed) == expected


def test_digests_tell_keys_apart_and_hold_none() -> None:
    assert len({key_digest("oxk_a"), key_digest("oxk_b"), key_digest("oxk_a")}) == 2
    assert len(key_digest("oxk_a")) == 16


@pytest.mark.parametrize(
    ("workspace", "row", "row_id"),
    [
        ("a", {"id": "eli"}, "eli"),
        # At home nothing is renamed: what a row names is for OrgX to say.
        ("a", {"id": "eli", "workspace_id": "c"}, "eli"),
        ("b", {"id": "eli"}, "b/eli"),
        ("b", {"agentId": "eli"}, "b/eli"),
        ("b", {"id": "eli", "agent_id": "eli"}, "b/eli"),
        ("b", {"id": "eli", "workspaceId": "A"}, "eli"),
        ("b", {"id": "eli", "commandCenterId": "c"}, "c/eli"),
        # It came under this id and names its workspace: there it stays.
        ("b", {"id": "known", "workspace_id": "c"}, "known"),
        ("b", {"id": "known"}, "b/known"),
        ("a", {"id": "there", "workspace_id": "c"}, "c/there"),
        ("b", {"name": "no id"}, None),
    ],
)
def test_ids_of_any_workspace_but_the_first_get_its_id(workspace: str, row: dict[str, Any], row_id: str | None) -> None:
    rows = {
        "known": KnownRow("", workspace="c"),
        "c/there": KnownRow("", workspace="c"),
        "b/x": KnownRow("", False, "b"),
    }
    local = LocalIds(TABLES["agents"], "a", workspace, KnownRows(rows.items()))
    (stored,) = local.stored([row])
    assert row_keys(TABLES["agents"]).id(stored) == row_id
    assert {value for key, value in stored.items() if key in ("id", "agent_id", "agentId")} == {row_id} - {None}
    assert [local.sent(name) for name in ("b/x", "known", "c/there", "eli")] == ["x", "known", "there", "eli"]
