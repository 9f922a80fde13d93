"""Reads saved searches of OrgX's memory as rows: the results of a query at one time.

The results are a sample, never a complete list: a missing result does not mean a deletion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Row
from orgx_source.api.limits import Spending
from orgx_source.api.routes import TOOLS_PATH
from orgx_source.config import SavedSearch
from orgx_source.errors import ApiError, EnvelopeError, RateLimitError
from orgx_source.reading.report import TableReport
from orgx_source.rows.shape import loadable_json
from orgx_source.tables import is_id
from orgx_source.times import parse_timestamp

# The name that OrgX's own clients use, then the one in its documentation.
TOOLS = ("query_org_memory", "orgx_search")
# Statuses of a tool that is unknown or closed to this key.
UNKNOWN_TOOL = frozenset({400, 403, 404})
SPENT = frozenset({402, 429})
# Responses of related tools have their rows under these names.
LISTS = ("results", "decisions", "recommendations")
IDS = ("id", "uuid", "entity_id", "decision_id", "artifact_id")
TITLES = ("title", "name", "statement")
SUMMARIES = ("summary", "description")
SCORES = ("relevance_score", "relevance", "score")


def search_memory(
    client: OrgxClient, searches: tuple[SavedSearch, ...], report: TableReport, seen_at: datetime
) -> Iterator[Row]:
    """Yield the hits of all searches, and report searches that could not be run.

    Args:
        client: The OrgX client.
        searches: The searches.
        report: Receives the cost, and what is missing.
        seen_at: The time of the run.

    Raises:
        OrgxError: A search failed, or its response has an unknown format; a used-up allowance is only reported.
    """
    spending = Spending()
    report.route, report.verdict = TOOLS_PATH, "sample"
    try:
        for search in searches:
            try:
                found = _ask(client, search, spending)
            except ApiError as refusal:
                if not (isinstance(refusal, RateLimitError) or refusal.status in SPENT):
                    raise
                report.reasons.append(f"{search.name}: the allowance for memory searches is used up ({refusal})")
                return
            rows = list(_rows_of(search, found, seen_at))
            report.rows_read += len(rows)
            yield from rows
    finally:
        report.note_spending(spending)


def _ask(client: OrgxClient, search: SavedSearch, spending: Spending) -> list[Row]:
    asked = {"query": search.query, "scope": search.scope, "limit": search.limit}
    refusal: ApiError | None = None
    for tool in TOOLS:
        try:
            return hits_of(client.run_tool(tool, asked, spending), search.name)
        except ApiError as error:
            if error.status not in UNKNOWN_TOOL:
                raise
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def hits_of(answer: Mapping[str, Any], name: str) -> list[Row]:
    """Return the hits in a response, in any of OrgX's formats.

    Args:
        answer: The response.
        name: Name of the search, for the error.

    Raises:
        ApiError: The tool reported an error.
        EnvelopeError: The format is unknown; it is never treated as a response without hits.
    """
    if answer.get("ok") is False:
        error = answer.get("error")
        said = error.get("message") if isinstance(error, Mapping) else error
        # Not a status for trying another tool: this one ran.
        raise ApiError(f"{name}: the memory search failed: {said or 'no reason given'}", status=200, path=TOOLS_PATH)
    data = answer.get("data")
    for place in (data, answer):
        if isinstance(place, Mapping) and (found := _hits_in(place)) is not None:
            return found
    keys = ", ".join(sorted(map(str, data if isinstance(data, Mapping) else answer))[:8]) or "nothing"
    raise EnvelopeError(
        f"{name}: the response to the memory search has an unknown format (it has {keys})", status=200, path=TOOLS_PATH
    )


def _hits_in(place: Mapping[str, Any]) -> list[Row] | None:
    if isinstance(place.get("results"), list):
        return _objects(place["results"])
    if isinstance(by_type := place.get("results_by_type"), Mapping):
        lists = [(str(kind), rows) for kind, rows in by_type.items() if isinstance(rows, list)]
        return [{"type": kind.removesuffix("s"), **row} for kind, rows in lists for row in _objects(rows)]
    for key in LISTS:
        if isinstance(place.get(key), list):
            return [{"type": key.removesuffix("s"), **row} for row in _objects(place[key])]
    if isinstance(following := place.get("next_action"), Mapping):
        return [{"type": "next_action", **following}]
    return None


def _objects(values: list[Any]) -> list[Row]:
    return [dict(value) if isinstance(value, Mapping) else {"summary": str(value)} for value in values]


def _rows_of(search: SavedSearch, found: list[Row], seen_at: datetime) -> Iterator[Row]:
    """Yield the hits of one search as rows of the table, each once."""
    given: set[str] = set()
    for hit in found:
        left = dict(hit)
        row_id = next((str(hit[key]) for key in IDS if is_id(hit.get(key))), None) or _digest(hit)
        if row_id in given:
            continue
        given.add(row_id)
        made = left.pop("created_at", None) or left.pop("createdAt", None)
        score = next((left.pop(key) for key in SCORES if _is_number(left.get(key))), None)
        kind, title = left.pop("type", None), _first(left, TITLES)
        summary = _first(left, SUMMARIES)
        left.pop("id", None)
        yield {
            "result_id": row_id,
            "search_name": search.name,
            "query": search.query,
            "scope": search.scope,
            "seen_at": seen_at,
            "type": None if kind is None else str(kind),
            "title": title,
            "summary": summary,
            "score": None if score is None else float(score),
            "created_at": None if made is None else parse_timestamp(made),
            "details": loadable_json(left) or None,
        }


def _first(hit: Row, keys: tuple[str, ...]) -> str | None:
    """Remove and return the first text under these keys of a hit."""
    return next((hit.pop(key) for key in keys if isinstance(hit.get(key), str) and hit[key]), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _digest(hit: Row) -> str:
    text = json.dumps(hit, sort_keys=True, default=str)
    return f"content:{blake2b(text.encode(), digest_size=12).hexdigest()}"
