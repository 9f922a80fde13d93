"""Saved searches of OrgX's memory: hits are added, shapes are known or named, and a spent allowance is only said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orgx_source.config import SavedSearch, load_config
from orgx_source.errors import ApiError, ConfigError, EnvelopeError
from orgx_source.reading.memory import hits_of
from orgx_source.sandbox import Fault, Sandbox, World
from tests.running import query, sync

LAUNCH = SavedSearch("launch", "launch plan", "all", 5)
DECIDED = SavedSearch("decided", "approve", "decisions", 3)


def test_hits_are_added_by_every_run_and_never_taken_away() -> None:
    with Sandbox(World("small")) as box:
        for _ in range(2):
            report = sync(box, tables=["workspaces", "memory_hits"], memory=(LAUNCH, DECIDED))
            table = report.tables["memory_hits"]
            assert (report.exit_code, table.verdict, table.requests, table.error) == (0, "sample", 2, None)
        found = query(
            "select search_name, count(*), count(distinct seen_at), max(score) <= 1 from orgx.memory_hits group by 1"
        )
        assert sorted(found) == [("decided", 6, 2, True), ("launch", 10, 2, True)]
        (details,) = query("select details from orgx.memory_hits where search_name = 'decided' limit 1")[0]
        assert set(json.loads(details)) == {"initiative_id"}
        assert query("select verdict from orgx.sync_log where table_name = 'memory_hits' limit 1") == [("sample",)]


@pytest.mark.parametrize(
    "fault",
    [
        *("memory_by_type", "memory_flat", "memory_neighbour=recommendations", "memory_neighbour=decisions"),
        *("unknown_tool=query_org_memory", "unknown_fields", "big_numbers", "missing_id"),
    ],
)
def test_whatever_shape_an_answer_has_its_hits_come(fault: str) -> None:
    with Sandbox(World("small"), faults=[Fault.parse(fault)]) as box:
        report = sync(box, tables=["memory_hits"], memory=(DECIDED,))
        assert report.tables["memory_hits"].error is None, report.to_json()
        assert query("select count(distinct result_id), min(type) from orgx.memory_hits") == [(3, "decision")]


TROUBLES = {
    "memory_fails": (1, "decided: the memory search failed: query must not be empty"),
    "memory_shapeless": (1, "has an unknown format (it has query, scope)"),
    "closed=403@/api/client/tools": (1, "403 from /api/client/tools/execute"),
}


@pytest.mark.parametrize("fault", TROUBLES)
def test_a_search_that_fails_is_an_error_of_its_own(fault: str) -> None:
    code, said = TROUBLES[fault]
    with Sandbox(World("small"), faults=[Fault.parse(fault)]) as box:
        report = sync(box, tables=["workspaces", "memory_hits"], memory=(DECIDED, LAUNCH))
        assert (report.exit_code, report.tables["workspaces"].error) == (code, None)
        assert said in (report.tables["memory_hits"].error or "")


@pytest.mark.parametrize("fault", ["memory_spent", "rate_limited=3600@/api/client/tools"])
def test_a_spent_allowance_is_said_and_the_run_goes_on(fault: str) -> None:
    with Sandbox(World("small"), faults=[Fault.parse(fault)]) as box:
        report = sync(box, tables=["workspaces", "memory_hits"], memory=(DECIDED, LAUNCH))
        table = report.tables["memory_hits"]
        assert (report.exit_code, table.error, table.requests, table.rows_new) == (0, None, 1, 0)
        assert "the allowance for memory searches is used up" in table.reasons[0]
        assert report.waited_seconds == 0


SHAPES: dict[str, tuple[dict[str, Any], list[str | None]]] = {
    "results": ({"data": {"results": [{"type": "decision"}]}}, ["decision"]),
    "by type": (
        {"data": {"results_by_type": {"decisions": [{}], "interpretations": [{}]}}},
        ["decision", "interpretation"],
    ),
    "at the top": ({"results": [{"type": "a"}]}, ["a"]),
    "nothing found": ({"data": {"results": []}}, []),
    "recommendations": ({"data": {"recommendations": [{}]}}, ["recommendation"]),
    "what to do next": ({"data": {"next_action": {"title": "x"}}}, ["next_action"]),
    "words": ({"data": {"results": ["just words"]}}, [None]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_an_answer_is_read(shape: str) -> None:
    answer, types = SHAPES[shape]
    assert [hit.get("type") for hit in hits_of({"ok": True, **answer}, "x")] == types


@pytest.mark.parametrize(
    "answer", [{}, {"data": {}}, {"data": []}, {"data": {"results": None}}, {"ok": True, "data": None}]
)
def test_an_answer_without_hits_is_never_one_with_none(answer: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeError, match="has an unknown format"):
        hits_of(answer, "x")


@pytest.mark.parametrize("error", ["text", {"message": "text"}, None])
def test_an_answer_that_says_no_is_an_error(error: Any) -> None:
    with pytest.raises(ApiError, match="the memory search failed"):
        hits_of({"ok": False, "error": error, "data": {"results": []}}, "x")


def test_saved_searches_stand_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORGX_API_KEY", "oxk_" + "a" * 20)
    monkeypatch.setenv(
        "SOURCES__ORGX__MEMORY", '[{"name": "a", "query": "b"}, {"name": "c", "query": "d", "limit": 3}]'
    )
    assert load_config().memory == (SavedSearch("a", "b"), SavedSearch("c", "d", "all", 3))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{"name": "a"}', "must be saved searches"),
        ('[{"query": "b"}]', "number 1 needs a name"),
        ('[{"name": "a", "query": " "}]', "number 1 needs a query"),
        ('[{"name": "a", "query": "b", "scope": "tasks"}]', "scope must be one of all, artifacts"),
        ('[{"name": "a", "query": "b", "limit": 0}]', "limit must be a whole number from 1"),
        ('[{"name": "a", "query": "b", "size": 0}]', "number 1 has unknown keys: size"),
        ('[{"name": "a", "query": "b"}, {"name": "a", "query": "c"}]', "more than one search named a"),
    ],
)
def test_a_search_that_cannot_be_asked_is_refused(given: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORGX_API_KEY", "oxk_" + "a" * 20)
    monkeypatch.setenv("SOURCES__ORGX__MEMORY", given)
    with pytest.raises(ConfigError, match=said):
        load_config()
