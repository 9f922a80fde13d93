"""The endpoints of OrgX: select, order and page rows of the world, and show them in the format of each path.

Where OrgX's behaviour is unknown (order of live lists, default page sizes of v1), the sandbox is least convenient.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orgx_source.sandbox.accounting import usage_of
from orgx_source.sandbox.answers import RefusalError, json_answer, refusal
from orgx_source.sandbox.faults import Hits, distort_rows, needs_plain_json
from orgx_source.sandbox.lists import make_cursor, read_cursor, sort_rows
from orgx_source.sandbox.searching import Searching
from orgx_source.sandbox.world import ENTITIES, Row, World, iso

if TYPE_CHECKING:
    from orgx_source.sandbox.app import SandboxApp

PAGE_DEFAULT = 20
FEED_DEFAULT = 100
# Types accepted by the list, and their types in the world.
ENTITY_TYPES = {kind: kind for kind in ENTITIES} | {"command_center": "workspace"}
ORDER_FIELDS = (
    "created_at", "updated_at", "sequence", "due_date", "priority", "status", "title", "name", "natural",
)  # fmt: skip
PARENTS = ("initiative_id", "workstream_id", "milestone_id")
LIVE_INITIATIVE = ("id", "title", "status", "priority")
V1_DECISION = (
    "id", "workspace_id", "title", "summary", "status", "shape", "blocks_task", "task_id", "initiative_id",
    "created_at", "updated_at",
)  # fmt: skip
V1_RUN = (
    "id", "title", "status", "source_driver", "started_at", "completed_at", "outcome_kind", "quality_score",
)  # fmt: skip
WORK_RECEIPT_DAYS = 120
V1_URGENCY = {"low": "deferred", "medium": "standard", "high": "urgent", "critical": "critical"}
V1_WORK = (
    "id", "title", "status", "priority", "due_date", "initiative_id", "workstream_id", "milestone_id", "sequence",
    "metadata", "created_at", "updated_at",
)  # fmt: skip


Endpoint = Callable[["Paths", Request, Hits], Response]


class Paths:
    """The endpoints. Each holds the world's lock while it builds its response."""

    def __init__(self, app: SandboxApp) -> None:
        self._app = app
        self._world = app.world

    def routes(self) -> list[Route]:
        """Return every path with its endpoint; other paths are a 404 in OrgX's format."""
        endpoints: dict[str, Endpoint] = {
            "/api/client/live/initiatives": Paths._live_initiatives,
            "/api/client/live/agents": Paths._live_agents,
            "/api/client/live/activity": Paths._live_activity,
            "/api/client/artifacts/by-entity": Paths._artifacts_by_entity,
            "/api/client/artifacts/{id}": Paths._artifact,
            "/api/entities": Paths._entities,
            "/api/v1/decisions": Paths._v1_decisions,
            "/api/v1/artifacts": Paths._v1_artifacts,
            "/api/v1/artifacts/by-entity": Paths._artifacts_by_entity,
            "/api/v1/artifacts/{id}": Paths._artifact,
            "/api/v1/work": Paths._v1_work,
            "/api/v1/runs": Paths._v1_runs,
            "/api/v1/execution/receipts": Paths._execution_receipts,
            "/api/v1/work-ledger/receipts": Paths._work_receipts,
            "/api/v1/handoffs": Paths._v1_handoffs,
            "/api/client/handoffs": Paths._handoffs,
            "/api/client/live/sessions": Paths._live_sessions,
            "/api/usage/control-plane/summary": Paths._usage,
            "/api/usage/unified": Paths._usage,
        }
        found = [Route(path, self._guard(endpoint), methods=["GET"]) for path, endpoint in endpoints.items()]
        tools = Route("/api/client/tools/execute", self._tools, methods=["POST"])
        both = Route("/api/client/bootstrap", self._guard(Paths._bootstrap), methods=["GET", "POST"])
        nothing = Route("/{rest:path}", self._guard(Paths._nothing), methods=["GET", "POST", "PATCH", "PUT", "DELETE"])
        return [both, tools, *found, nothing]

    def _viewing(self, world: World) -> Paths:
        """Return these paths over the world of one request."""
        if world is self._world:
            return self
        view = copy.copy(self)
        view._world = world
        return view

    def _guard(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            hits: Hits = request.state.hits
            try:
                if "drift" in hits:
                    hits.value("drift")(self._world, hits.numbers["drift"])
                with self._world.lock:
                    view = self._viewing(self._app.shown(request.scope, hits))
                    response = endpoint(view, request, hits)
            except RefusalError as error:
                return refusal(error.status, error.code, error.message)
            if "truncated" in hits:
                return Response(bytes(response.body)[: len(response.body) // 2], media_type="application/json")
            return response

        return answer

    async def _tools(self, request: Request) -> Response:
        """Run a tool that is open to keys: the memory search, under either of its names."""
        hits: Hits = request.state.hits
        try:
            asked = await request.json()
            tool, arguments = asked["tool_id"].removeprefix("chatgpt."), asked.get("args") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return json_answer({"error": "invalid_input", "message": "tool_id is required."}, 400)
        if tool not in ("query_org_memory", "orgx_search") or tool == hits.value("unknown_tool"):
            return json_answer({"error": "permission_denied", "message": f"{tool} is not open to this key."}, 403)
        if "memory_spent" in hits:
            return json_answer({"error": "allowance_spent", "message": "The MCP allowance is used up."}, 402)
        answer: Row = {"ok": True, "tool_id": tool, "execution_time_ms": 84}
        if "memory_fails" in hits or not str(arguments.get("query") or "").strip():
            return json_answer(answer | {"ok": False, "error": "query must not be empty"})
        try:
            found = Searching(self._app).recall(str(arguments["query"]), arguments.get("scope", "all"))
        except RefusalError as refused:
            return json_answer(answer | {"ok": False, "error": refused.message})
        rows = distort_rows(found[: int(arguments.get("limit", 10))], hits)
        told = {"query": arguments["query"], "scope": arguments.get("scope", "all")}
        answer |= {"data": told | _as_found(rows, hits)}
        if "memory_flat" in hits:
            answer = {"ok": True, "tool_id": tool, "results": rows}
        answer["usage"] = {"metered": True, "billed": True, "reason": "not_requested"}
        return json_answer(answer, plain=needs_plain_json(hits))

    def _nothing(self, request: Request, hits: Hits) -> Response:
        raise RefusalError(404, "entity_not_found", "Not found.")

    def _bootstrap(self, request: Request, hits: Hits) -> Response:
        workspace = self._home()
        data = {
            "workspace": {"id": workspace["id"], "name": workspace["name"]},
            "sourceClient": request.query_params.get("source_client", "custom"),
            "capabilities": [],
            "setup": {"ready": True},
        }
        return self._answer({"ok": True, "data": data}, hits)

    # -- live ------------------------------------------------------------------------------------------------------

    def _live_initiatives(self, request: Request, hits: Hits) -> Response:
        scope, query = self._scope(request, hits), request.query_params
        wanted = query.get("id")

        def make(rows: list[Row]) -> list[Row]:
            return sorted((row for row in rows if self._within(row, scope)), key=lambda row: row["id"])

        rows = self._world.listing("initiative", ("live", scope), make)
        if wanted is not None:
            rows = [row for row in rows if row["id"] == wanted]
        chosen, pagination = self._cut_page(rows, request, "initiative", hits)
        total = pagination.pop("total", None)
        document: Row = {"initiatives": distort_rows([_live_initiative(row) for row in chosen], hits)}
        if total is not None:
            document["total"] = total
        return self._answer(document | {"pagination": pagination}, hits)

    def _live_agents(self, request: Request, hits: Hits) -> Response:
        query = request.query_params
        rows = list(self._world.find("agent").values())
        if query.get("include_idle", "true") == "false":
            rows = [row for row in rows if row["status"] != "idle"]
        if query.get("initiative"):
            rows = [row for row in rows if row["initiative_id"] == query["initiative"]]
        states = ("running", "queued", "blocked", "idle")
        summary = {state: sum(row["status"] == state for row in rows) for state in states}
        if "no_total" not in hits:
            summary = {"total": self._count(rows, "agent", hits), **summary}
        return self._answer({"agents": distort_rows([_camel(row) for row in rows], hits), "summary": summary}, hits)

    def _live_activity(self, request: Request, hits: Hits) -> Response:
        query = request.query_params
        rows = self._world.listing(
            "activity", ("newest",), lambda rows: sorted(rows, key=lambda r: (r["timestamp"], r["id"]), reverse=True)
        )
        if query.get("since") and "ignore_since" not in hits:
            since = _moment(query["since"])
            rows = [row for row in rows if datetime.fromisoformat(row["timestamp"]) >= since]
        if query.get("run"):
            rows = [row for row in rows if row["run_id"] == query["run"]]
        limit = min(_number(query, "limit", FEED_DEFAULT), hits.value("clamp") or len(rows))
        document: Row = {"activities": distort_rows([_camel(row) for row in rows[:limit]], hits)}
        if "no_total" not in hits:
            document["total"] = limit if "page_total" in hits else self._count(rows, "activity", hits)
        return self._answer(document, hits)

    # -- entities --------------------------------------------------------------------------------------------------

    def _entities(self, request: Request, hits: Hits) -> Response:
        query = request.query_params
        kind = ENTITY_TYPES.get(query.get("type", ""))
        if kind is None:
            raise RefusalError(400, "invalid_input", f"type must be one of {', '.join(ENTITY_TYPES)}.")
        if "offset" in query and "cursor" in query:
            raise RefusalError(400, "invalid_input", "offset and cursor exclude each other.")
        scope = self._scope(request, hits)
        filters = tuple((key, query[key]) for key in ("status", "search", "domain", *PARENTS) if query.get(key))
        if kind == "run":
            filters = tuple(pair for pair in filters if pair[0] != "initiative_id")
        below = any(key in PARENTS for key, _ in filters)
        order = query.get("order_by", "sequence" if below else "created_at")
        if order not in ORDER_FIELDS:
            raise RefusalError(400, "invalid_input", f"order_by must be one of {', '.join(ORDER_FIELDS)}.")
        descending = query.get("order_direction", "asc" if below else "desc") == "desc"
        if "ignore_order" in hits:
            order, descending = "created_at", True

        def make(rows: list[Row]) -> list[Row]:
            kept = [row for row in rows if self._within(row, scope) and all(_matches(row, *pair) for pair in filters)]
            return sort_rows(kept, order, descending)

        rows = self._world.listing(kind, ("entities", scope, filters, order, descending), make)
        wanted = query.get("ids") or query.get("id")
        if wanted and "ignore_ids" not in hits:
            ids = set(wanted.split(","))
            rows = [row for row in rows if row["id"] in ids]
        elif "hidden" in hits:
            rows = [row for row in rows if int(row["id"][:2], 16) % 3]
        chosen, pagination = self._cut_page(rows, request, kind, hits)
        shown = [] if "empty" in hits else [self._entity(kind, row) for row in chosen]
        if query.get("fields") and "ignore_fields" not in hits:
            fields = {"id", *query["fields"].split(",")}
            shown = [{key: value for key, value in row.items() if key in fields} for row in shown]
        return self._answer({"type": query["type"], "data": distort_rows(shown, hits), "pagination": pagination}, hits)

    def _entity(self, kind: str, row: Row) -> Row:
        if kind == "decision" and row["status"] == "pending":
            # Derived, and different in every response: a comparison that includes it sees false changes.
            asked = datetime.fromisoformat(row["created_at"])
            return row | {"waiting_minutes": int((self._world.now - asked).total_seconds() // 60) + len(self._app.seen)}
        if kind == "run":
            token = f"prv_{row['id']}"
            return row | {"preview_token": token, "metadata": {**(row.get("metadata") or {}), "preview_token": token}}
        return row

    # -- v1 and artifacts ------------------------------------------------------------------------------------------

    def _v1_decisions(self, request: Request, hits: Hits) -> Response:
        scope, query = self._v1_scope(request, hits), request.query_params
        rows = sort_rows(
            [r for r in self._world.find("decision").values() if self._within(r, scope)], "created_at", True
        )
        shown = [_v1_decision(row) for row in rows]
        for key in ("shape", "urgency", "status"):
            if query.get(key):
                shown = [row for row in shown if row[key] == query[key]]
        return self._answer({"decisions": distort_rows(shown[: self._limit(query, hits)], hits)}, hits)

    def _v1_artifacts(self, request: Request, hits: Hits) -> Response:
        scope, query = self._v1_scope(request, hits), request.query_params
        rows = [row for row in self._world.find("artifact").values() if self._within(row, scope)]
        for key in ("status", "initiative_id", "task_id"):
            if query.get(key):
                rows = [row for row in rows if row[key] == query[key]]
        if query.get("since") and "ignore_since" not in hits:
            since = _moment(query["since"])
            rows = [r for r in rows if datetime.fromisoformat(r["updated_at"] or r["created_at"]) >= since]
        rows = sort_rows(rows, "created_at", True)[: self._limit(query, hits)]
        return self._answer({"artifacts": distort_rows(rows, hits)}, hits)

    def _v1_work(self, request: Request, hits: Hits) -> Response:
        scope, query = self._v1_scope(request, hits), request.query_params
        rows = [row for row in self._world.find("task").values() if self._within(row, scope)]
        for key in ("status", "initiative_id"):
            if query.get(key):
                rows = [row for row in rows if row[key] == query[key]]
        if query.get("updated_since") and "ignore_since" not in hits:
            since = _moment(query["updated_since"])
            rows = [r for r in rows if datetime.fromisoformat(r["updated_at"] or r["created_at"]) >= since]
        rows = sorted(rows, key=lambda row: row["id"])
        start, limit = read_cursor(query.get("cursor")), self._limit(query, hits)
        chosen = rows[start : start + limit]
        more = start + limit < len(rows)
        meta: Row = {
            "apiVersion": "1",
            "workspaceId": scope,
            "count": len(chosen),
            "hasMore": more,
            "nextCursor": make_cursor(start + limit) if more else None,
            "limit": limit,
        }
        shown = [
            {key: row.get(key) for key in V1_WORK} | {"updated_at": row["updated_at"] or row["created_at"]}
            for row in chosen
        ]
        return self._answer({"data": distort_rows(shown, hits), "meta": meta}, hits)

    def _artifacts_by_entity(self, request: Request, hits: Hits) -> Response:
        query = request.query_params
        entity = (query.get("entity_type", ""), query.get("entity_id", ""))
        if not all(entity):
            raise RefusalError(400, "invalid_input", "entity_type and entity_id are required.")

        def make(rows: list[Row]) -> Any:
            groups: dict[tuple[str, str], list[Row]] = {}
            for row in rows:
                groups.setdefault((row["entity_type"], row["entity_id"]), []).append(row)
            return groups

        groups: Any = self._world.listing("artifact", ("by entity",), make)
        rows = groups.get(entity, [])[: self._limit(query, hits)]
        return self._answer({"ok": True, "artifacts": distort_rows(rows, hits)}, hits)

    def _artifact(self, request: Request, hits: Hits) -> Response:
        row = self._world.find("artifact").get(request.path_params["id"])
        if row is None:
            raise RefusalError(404, "entity_not_found", "No artifact with this id.")
        return self._answer({"ok": True, "artifact": row, "relationships": []}, hits)

    # -- runs and money --------------------------------------------------------------------------------------------

    def _v1_runs(self, request: Request, hits: Hits) -> Response:
        rows = sort_rows(self._world.find("run").values(), "created_at", True)[
            : self._limit(request.query_params, hits)
        ]
        shown = [{key: row.get(key) for key in V1_RUN} | {"preview_token": f"prv_{row['id']}"} for row in rows]
        return self._answer({"runs": distort_rows(shown, hits)}, hits)

    def _execution_receipts(self, request: Request, hits: Hits) -> Response:
        scope, query = self._v1_scope(request, hits), request.query_params
        since = self._world.now - timedelta(days=_number(query, "days", 30))
        rows = [row for row in self._world.find("execution_receipt").values() if self._within(row, scope)]
        rows = [row for row in rows if datetime.fromisoformat(row["started_at"]) >= since]
        return self._answer({"receipts": distort_rows(sort_rows(rows, "started_at", True), hits)}, hits)

    def _work_receipts(self, request: Request, hits: Hits) -> Response:
        scope, query = self._v1_scope(request, hits), request.query_params
        since = iso(self._world.now - timedelta(days=WORK_RECEIPT_DAYS))
        rows = [row for row in self._world.find("work_receipt").values() if self._within(row, scope)]
        rows = sort_rows([row for row in rows if row["completed_at"] >= since], "completed_at", True)
        shown = [_work_receipt(row) for row in rows[: self._limit(query, hits)]]
        document: Row = {"ok": True, "results": distort_rows(shown, hits), "window_days": WORK_RECEIPT_DAYS}
        return self._answer(document if "no_total" in hits else document | {"total": len(rows)}, hits)

    def _handoffs(self, request: Request, hits: Hits) -> Response:
        events: dict[str, list[Row]] = {}
        for event in self._world.find("handoff_event").values():
            events.setdefault(event["handoff_id"], []).append(_camel(event))
        rows = [_camel(row) | {"events": events.get(row["id"], [])} for row in self._world.find("handoff").values()]
        return self._answer({"handoffs": distort_rows(rows, hits)}, hits)

    def _v1_handoffs(self, request: Request, hits: Hits) -> Response:
        self._v1_scope(request, hits)
        rows = []
        for row in self._world.find("handoff").values():
            actor = {"type": row["current_actor_type"], "id": row["current_actor_id"]}
            shown = {key: row[key] for key in ("title", "priority", "status", "created_at", "updated_at")}
            # It is unknown whether a handoff has the same id on both paths.
            shown |= {"id": f"v1-{row['id']}", "current_actor": actor if actor["id"] else None}
            rows.append(_camel(shown))
        return self._answer({"data": distort_rows(rows, hits)}, hits)

    def _live_sessions(self, request: Request, hits: Hits) -> Response:
        rows = sort_rows(self._world.find("session").values(), "updated_at", True)
        rows = rows[: _number(request.query_params, "limit", 100)]
        edges = [{"parentId": row["parent_id"], "childId": row["id"]} for row in rows if row.get("parent_id")]
        nodes = [_camel({key: value for key, value in row.items() if key != "parent_id"}) for row in rows]
        return self._answer({"nodes": distort_rows(nodes, hits), "edges": edges, "groups": []}, hits)

    def _usage(self, request: Request, hits: Hits) -> Response:
        return self._answer(usage_of(self._world, self._scope(request, hits)), hits)

    # -- what they share -------------------------------------------------------------------------------------------

    def _home(self) -> Row:
        return next(iter(self._world.find("workspace").values()))

    def _scope(self, request: Request, hits: Hits) -> str | None:
        """Return the requested workspace; None for all that the key may see."""
        query = request.query_params
        given = {query[key] for key in ("workspace_id", "command_center_id") if query.get(key)}
        if len(given) > 1:
            raise RefusalError(400, "invalid_input", "workspace_id and command_center_id differ.")
        scope = next(iter(given), None)
        if scope is not None and scope not in self._world.find("workspace"):
            raise RefusalError(404, "entity_not_found", "No such workspace.")
        return None if "ignore_workspace" in hits else scope

    def _v1_scope(self, request: Request, hits: Hits) -> str | None:
        if not request.query_params.get("workspace_id"):
            raise RefusalError(400, "invalid_input", "workspace_id is required.")
        return self._scope(request, hits)

    def _within(self, row: Row, scope: str | None) -> bool:
        """Return whether a row is in the workspace; rows without one belong to the first."""
        return scope is None or scope == (row.get("workspace_id") or row.get("command_center_id") or self._home()["id"])

    def _limit(self, query: Mapping[str, str], hits: Hits) -> int:
        most = min(self._app.page_max, hits.value("clamp") or self._app.page_max)
        return 10**9 if "oversize" in hits else min(_number(query, "limit", PAGE_DEFAULT), most)

    def _count(self, rows: list[Row], kind: str, hits: Hits) -> int:
        """Return the total for a list."""
        count = len(rows)
        if seconds := hits.seconds("stale_total"):
            world = self._app.world
            count += world.at(world.now - timedelta(seconds=seconds)).count(kind) - self._world.count(kind)
        return max(0, count + (hits.value("wrong_total") or 0))

    def _cut_page(self, rows: list[Row], request: Request, kind: str, hits: Hits) -> tuple[list[Row], Row]:
        """Return the rows of one page, and its ``pagination`` with the total."""
        query, limit = request.query_params, self._limit(request.query_params, hits)
        asked = read_cursor(query["cursor"]) if "cursor" in query else _number(query, "offset", 0)
        offset = 0 if "ignore_offset" in hits else asked
        chosen = rows[offset : offset + limit]
        more = "last_page" not in hits and (offset + limit < len(rows) or "has_more_forever" in hits)
        counts_page = "page_total" in hits or "last_page" in hits
        pagination: Row = {"total": len(chosen) if counts_page else self._count(rows, kind, hits)}
        if "last_page" in hits:
            limit = _number(query, "limit", PAGE_DEFAULT)
        if "no_echo" not in hits:
            pagination |= {"limit": limit, "offset": asked if "ignore_offset" in hits else offset}
        pagination |= {"has_more": more, "next_cursor": make_cursor(offset + limit) if more else None}
        if "no_total" in hits:
            del pagination["total"]
        if "no_has_more" in hits:
            del pagination["has_more"], pagination["next_cursor"]
        return chosen, pagination

    def _answer(self, document: Row, hits: Hits) -> Response:
        if "not_ok" in hits:
            document = {"ok": False, "error": {"code": "server_error", "message": "Try again.", "status": 200}}
        if "wrong_envelope" in hits:
            document = {"items": [], "page": 1}
        return json_answer(document, plain=needs_plain_json(hits))


# -- rows ----------------------------------------------------------------------------------------------------------


def _as_found(rows: list[Row], hits: Hits) -> Row:
    """Return memory hits in one of the formats of its responses."""
    if "memory_by_type" in hits:
        kinds = {row["type"]: [one for one in rows if one["type"] == row["type"]] for row in rows}
        return {"results_by_type": {f"{kind}s": found for kind, found in kinds.items()}}
    if "memory_neighbour" in hits:
        return {hits.value("memory_neighbour"): rows}
    return {} if "memory_shapeless" in hits else {"results": rows}


def _camel(row: Row) -> Row:
    def name(key: str) -> str:
        first, *rest = key.split("_")
        return first + "".join(word.capitalize() for word in rest)

    return {name(key): value for key, value in row.items()}


def _live_initiative(row: Row) -> Row:
    shown = {key: row.get(key) for key in LIVE_INITIATIVE}
    return shown | {
        "progress": row.get("progress_pct"),
        "createdAt": row.get("created_at"),
        "updatedAt": row.get("updated_at"),
        "targetDate": row.get("target_date"),
        "dueDate": None,
        "etaEndAt": None,
        "commandCenterId": row.get("command_center_id") or row.get("workspace_id"),
    }


def _work_receipt(row: Row) -> Row:
    """Show a receipt with its claim, assessment and judgement as separate objects."""
    plain = ("external_receipt_id", "summary", "schema_version", "initiative_id", "workspace_id", "completed_at")
    claims = ("outcome_status", "verification_status", "acceptance_status")
    judgment = {"outcome_status": row["judged_outcome_status"], "actor_id": row["judged_by"]}
    return {
        "receipt_id": row["id"],
        **{key: row.get(key) for key in (*plain, "created_at", "updated_at")},
        "producer_claims": {key: row.get(f"claimed_{key}") for key in claims},
        "receipt_assessment": {key: row.get(key) for key in (*claims, "evidence_status")},
        "human_judgment": judgment | {"decided_at": row["judged_at"]} if row["judged_at"] else None,
        "criteria": {key: row[f"criteria_{key}"] for key in ("met", "unmet", "unknown")},
    }


def _v1_decision(row: Row) -> Row:
    shown = {key: row.get(key) for key in V1_DECISION}
    status = "declined" if row["status"] == "rejected" else row["status"]
    return shown | {"status": status, "urgency": V1_URGENCY[row["urgency"]]}


def _matches(row: Row, key: str, value: str) -> bool:
    if key == "search":
        return value.lower() in str(row.get("title") or row.get("name") or "").lower()
    return str(row.get(key)) == value


# -- parameters ----------------------------------------------------------------------------------------------------


def _number(query: Mapping[str, str], key: str, default: int) -> int:
    text = query.get(key)
    if text is None:
        return default
    if not text.isdigit():
        raise RefusalError(400, "invalid_input", f"{key} must be a number.")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RefusalError(400, "invalid_input", "Not a valid time.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
