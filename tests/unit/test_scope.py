"""Which rows and workspaces a run can see."""

from __future__ import annotations

from orgx_source.reading.scope import Sight, rows_in_workspace
from orgx_source.tables import TABLES

TASKS = TABLES["tasks"]


def test_without_a_workspace_every_row_is_kept() -> None:
    rows = [{"id": "a", "workspace_id": "x"}, {"id": "b"}]
    assert rows_in_workspace(TASKS, rows, None) is rows


def test_rows_of_the_workspace_and_rows_that_name_none_are_kept() -> None:
    rows = [
        {"id": "own", "workspace_id": "x"},
        {"id": "camel", "workspaceId": "x"},
        {"id": "older name", "commandCenterId": "x"},
        {"id": "both names", "workspace_id": "y", "command_center_id": "x"},
        {"id": "none"},
        {"id": "null", "workspace_id": None},
        {"id": "empty", "workspace_id": ""},
        {"id": "no text", "workspace_id": 7},
        {"id": "other", "workspace_id": "y"},
    ]
    kept = [row["id"] for row in rows_in_workspace(TASKS, rows, "x")]
    assert kept == ["own", "camel", "older name", "both names", "none", "null", "empty", "no text"]


def never() -> set[str]:
    raise AssertionError("OrgX was asked")


def test_the_workspace_that_was_asked_for_is_all_that_is_seen() -> None:
    sight = Sight("x", "own", never)
    assert sight.sees("x")
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
