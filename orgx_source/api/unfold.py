"""Builds rows from responses that are not plain lists: a tree, nested events, an object with sums. Drops nothing.

Each function is a `Route.unfold`: it takes the response and the list found in it, and returns the rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orgx_source.tables import Row, snake_case

# Secrets, such as preview_token. Not tokens_used, token_count or api_key_id.
_SECRET = re.compile(r"(^|_)(token|secret|passwords?|passwd|credentials?|api_key|private_key|authorization|cookies?)$")


def without_secrets(value: Any) -> Any:
    """Return a value without the keys that name a secret, at any depth."""
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items() if not _SECRET.search(snake_case(key))}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return value


def sessions(document: Mapping[str, Any], rows: list[Row] | None) -> list[Row] | None:
    """Return the nodes of the session tree, with parents that only its edges name."""
    if rows is None:
        return None
    parents = {
        edge.get("childId"): edge.get("parentId")
        for place in (document, _mapping(document, "data"))
        for edge in _mappings(place.get("edges"))
        if isinstance(edge.get("childId"), str)
    }
    return [
        {**row, "parentId": parents[row["id"]]}
        if isinstance(row, dict) and not row.get("parentId") and isinstance(row.get("id"), str) and row["id"] in parents
        else row
        for row in rows
    ]


def handoffs(document: Mapping[str, Any], rows: list[Row] | None) -> list[Row] | None:
    """Return handoffs without their events, which have their own table."""
    if rows is None:
        return None
    return [{k: v for k, v in row.items() if k != "events"} if isinstance(row, dict) else row for row in rows]


def handoff_events(document: Mapping[str, Any], rows: list[Row] | None) -> list[Row] | None:
    """Return the events of all handoffs; an event without a handoff id gets that of its parent."""
    if rows is None:
        return None
    return [
        event if event.get("handoffId") or event.get("handoff_id") else {**event, "handoffId": row.get("id")}
        for row in _mappings(rows)
        for event in _mappings(row.get("events"))
    ]


def work_receipts(document: Mapping[str, Any], rows: list[Row] | None) -> list[Row] | None:
    """Return receipts with their claims, assessment, judgment and criteria as columns."""
    if rows is None:
        return None
    return [_work_receipt(row) if isinstance(row, dict) else row for row in rows]


def _work_receipt(row: Row) -> Row:
    claims, judgment = _mapping(row, "producer_claims"), _mapping(row, "human_judgment")
    criteria = _mapping(row, "criteria")
    flat: Row = {key: value for key, value in row.items() if key not in ("producer_claims", "receipt_assessment")}
    flat |= {f"claimed_{key}": value for key, value in claims.items()}
    flat |= {key: value for key, value in _mapping(row, "receipt_assessment").items() if key not in flat}
    flat |= {f"criteria_{key}": _size(criteria[key]) for key in ("met", "unmet", "unknown") if key in criteria}
    judged = {"outcome_status": "judged_outcome_status", "actor_id": "judged_by", "decided_at": "judged_at"}
    flat |= {name: judgment[key] for key, name in judged.items() if key in judgment}
    return flat


def _size(value: Any) -> Any:
    """Return the number of criteria, which OrgX either lists or counts."""
    return len(value) if isinstance(value, list) else value


BREAKDOWNS = {
    "provider": "provider",
    "executionTarget": "execution_target",
    "sourceClient": "source_client",
    "model": "model",
}


def usage(document: Mapping[str, Any], rows: list[Row] | None) -> list[Row] | None:
    """Return one row for the period's total and one per key of each breakdown; None without a period."""
    told = _mapping(document, "data") or document
    period, actual = _mapping(told, "period"), _mapping(told, "actual")
    start = period.get("start")
    if not isinstance(start, str) or not actual:
        return None
    shared = {"period_start": start, "period_end": period.get("end"), "generated_at": told.get("generatedAt")}
    plan = _mapping(told, "plan")
    total: Row = {
        "id": f"{start}/total",
        **shared,
        "breakdown": "total",
        "runs": actual.get("agentRuns"),
        "tokens": actual.get("tokens"),
        "minutes": actual.get("agentMinutes"),
        "cost_cents": actual.get("costCents"),
        "plan_id": plan.get("id"),
        "plan_name": plan.get("name"),
        "allows_overage": plan.get("allowsOverage"),
        "included_budget_cents": plan.get("includedBudgetCents"),
        "overage_budget_cents": plan.get("overageBudgetCents"),
        "risk": told.get("risk"),
        "actual": dict(actual),
        "predicted": told.get("predicted"),
    }
    parts = [
        {"id": f"{start}/{name}/{part.get('key')}", **shared, "breakdown": name, **part}
        for key, name in BREAKDOWNS.items()
        for part in _mappings(_mapping(told, "breakdown").get(key))
    ]
    return [total, *parts]


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> Sequence[Row]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
