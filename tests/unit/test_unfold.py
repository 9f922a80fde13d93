"""Rows from answers that are more than a list, and values that open something."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orgx_source.api import unfold
from orgx_source.api.envelope import envelope_error, parse_page
from orgx_source.api.routes import ROUTES
from orgx_source.errors import EnvelopeError

PERIOD = {"start": "2026-04-01T00:00:00.000Z", "end": "2026-05-01T00:00:00.000Z"}
USAGE = {
    "period": PERIOD,
    "generatedAt": "2026-04-13T06:00:00.000Z",
    "plan": {"id": "team", "includedBudgetCents": 500},
    "actual": {"agentRuns": 3, "agentMinutes": 12.5, "tokens": 900, "costCents": 41},
    "breakdown": {"provider": [{"key": "openai", "label": "OpenAI", "runs": 3, "tokens": 900, "costCents": 41}]},
}


def rows_of(table: str, document: Any) -> list[dict[str, Any]]:
    route = ROUTES[table][0]
    return list(parse_page(json.dumps(document).encode(), keys=route.keys, path=route.path, unfold=route.unfold).rows)


def test_a_session_gets_the_parent_that_only_an_edge_names() -> None:
    nodes = [{"id": "a"}, {"id": "b"}, {"id": "c", "parentId": "x"}]
    edges = [{"parentId": "a", "childId": "b"}, {"parentId": "a", "childId": "c"}, {"childId": 7}]
    parents = {row["id"]: row.get("parentId") for row in rows_of("sessions", {"nodes": nodes, "edges": edges})}
    assert parents == {"a": None, "b": "a", "c": "x"}


def test_events_of_handoffs_are_rows_of_their_own() -> None:
    events = [{"id": "e1", "handoffId": "h1"}, {"id": "e2"}]
    document = {"handoffs": [{"id": "h1", "events": events}, {"id": "h2"}, {"id": "h3", "events": None}]}
    assert rows_of("handoffs", document) == [{"id": "h1"}, {"id": "h2"}, {"id": "h3"}]
    assert rows_of("handoff_events", document) == [{"id": "e1", "handoffId": "h1"}, {"id": "e2", "handoffId": "h1"}]


def test_a_total_of_handoffs_is_none_of_their_events() -> None:
    route = ROUTES["handoff_events"][0]
    body = json.dumps({"handoffs": [{"id": "h1", "events": [{"id": "e1"}, {"id": "e2"}]}], "total": 1}).encode()
    assert parse_page(body, keys=route.keys, path=route.path, unfold=route.unfold).total is None


@pytest.mark.parametrize(
    ("criteria", "met"), [({"met": 2}, 2), ({"met": ["a", "b"]}, 2), ({"met": "2"}, "2"), ({}, None)]
)
def test_criteria_may_be_counted_or_listed(criteria: Any, met: Any) -> None:
    (row,) = rows_of("work_receipts", {"results": [{"receipt_id": "r", "criteria": criteria}]})
    assert row.get("criteria_met") == met
    assert row["criteria"] == criteria


def test_a_work_receipt_keeps_claim_assessment_and_judgment_apart() -> None:
    receipt = {
        "receipt_id": "r",
        "producer_claims": {"outcome_status": "succeeded"},
        "receipt_assessment": {"outcome_status": "unknown", "acceptance_status": "human_reviewed"},
        "human_judgment": {"outcome_status": "failed", "actor_id": "user_1"},
    }
    (row,) = rows_of("work_receipts", {"results": [receipt]})
    found = [row.get(f"{who}outcome_status") for who in ("claimed_", "", "judged_")]
    assert (found, row["judged_by"]) == (["succeeded", "unknown", "failed"], "user_1")
    assert rows_of("work_receipts", {"results": [{"receipt_id": "r", "human_judgment": None}]})


@pytest.mark.parametrize("wrapped", [USAGE, {"ok": True, "data": USAGE}])
def test_usage_is_a_row_for_the_total_and_one_for_each_part(wrapped: Any) -> None:
    total, part = rows_of("usage", wrapped)
    assert (total["id"], part["id"]) == (f"{PERIOD['start']}/total", f"{PERIOD['start']}/provider/openai")
    assert (total["runs"], total["tokens"], total["cost_cents"], part["costCents"]) == (3, 900, 41, 41)


@pytest.mark.parametrize(
    "document", [{}, {"period": {}}, {"period": PERIOD}, {"actual": {"tokens": 1}}, {"usage": None}]
)
def test_usage_without_a_period_or_numbers_is_an_error_and_no_empty_table(document: Any) -> None:
    with pytest.raises(EnvelopeError):
        rows_of("usage", document)


def test_what_opens_something_is_left_out_at_any_depth_and_numbers_of_tokens_are_not() -> None:
    kept = {"tokens_used": 3, "tokenCount": 4, "api_key_id": "k", "expected_tokens": 5}
    secret = {"preview_token": "x", "previewToken": "x", "accessToken": "x", "client_secret": "x", "apiKey": "x"}
    assert unfold.without_secrets({**kept, **secret, "metadata": {**secret, "a": [{**secret, "b": 1}]}}) == {
        **kept,
        "metadata": {"a": [{"b": 1}]},
    }


@pytest.mark.parametrize("spelt", ["preview_token", "previewToken", "access_token", "client_secret"])
def test_no_error_shows_the_value_of_a_secret(spelt: str) -> None:
    for body in ({"x": [{spelt: "prv_1234567890"}]}, {spelt: 'prv_"1234567890'}, {spelt: ["prv_1234567890"]}):
        shown = str(envelope_error("wrong", json.dumps(body).encode(), "/p", "application/json", 200))
        assert "1234567890" not in shown
    cut = ('{"a": "' + "x" * 150 + '", "' + spelt + '": "prv_1234567890' + "y" * 900).encode()
    assert "1234567890" not in str(envelope_error("wrong", cut, "/p", "application/json", 200))
