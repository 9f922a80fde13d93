"""Lists in an order of OrgX's own, by cursor: nothing is passed over while they move, or the verdict says so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page
from orgx_source.api.mcp import McpTransport, Outcome, Tool, failure_of, page_of
from orgx_source.api.query import PageQuery
from orgx_source.api.route_reader import Access
from orgx_source.api.routes import ROUTES, Route
from orgx_source.api.search_reader import SearchReader
from orgx_source.api.transport import Transport
from orgx_source.config import OrgxConfig
from orgx_source.errors import BudgetError, ConfigError, DriftError, EnvelopeError, OrgxError, ScopeError, ServerError
from orgx_source.login.tokens import GivenToken
from orgx_source.tables import TABLES
from tests.unit.moving_list import KEYS, MovingList
from tests.unit.test_paging_property import STEPS

EXAMPLES = int(os.environ.get("ORGX_EXAMPLES", "2000")) // 4
TASKS = ROUTES["tasks"][-1]


class MovingDoor(Transport):
    """A moving list behind cursors, in pages of twenty."""

    def __init__(self, source: MovingList) -> None:
        self.source = source

    def bootstrap(self) -> dict[str, Any]:
        return {"id": "home"}

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        offset = int(query.cursor) if query.cursor is not None else query.offset or 0
        page = self.source.fetch(offset, 20)
        more = offset + len(page.rows) < len(self.source.rows)
        return replace(page, has_more=more, next_cursor=str(offset + len(page.rows)) if more else None)


def reader_of(source: MovingList, executor: ThreadPoolExecutor, door: Transport | None = None) -> SearchReader:
    client = OrgxClient(OrgxConfig(api_key="oxk_" + "0" * 32), transport=door or MovingDoor(source))
    reader = SearchReader(Access(client, executor, {"id": "home"}), TABLES["tasks"], TASKS)
    reader._keys = KEYS
    return reader


@st.composite
def lists(draw: st.DrawFn) -> MovingList:
    order = draw(st.sampled_from(["created_desc"] * 3 + ["created_asc", "updated_desc", "heap", "anywhere"]))
    script = draw(st.dictionaries(st.integers(1, 20), st.lists(STEPS, min_size=1, max_size=4), max_size=8))
    return MovingList(
        size=draw(st.integers(0, 150)),
        order=order,
        seed=draw(st.integers(0, 99)),
        ties=draw(st.sampled_from([1, 1, 3, 30])),
        clamp=draw(st.sampled_from([100, 100, 7, 3])),
        with_total=draw(st.integers(0, 3)) > 0,
        script=script,
    )


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(lists())
def test_no_row_is_lost_while_a_list_moves_behind_cursors(source: MovingList) -> None:
    with ThreadPoolExecutor(1) as executor:
        reader = reader_of(source, executor)
        given_rows: set[str] = set()
        try:
            for batch in reader.rows():
                ids = [row["id"] for row in batch]
                assert len(ids) == len(set(ids))
                given_rows |= set(ids)
        except DriftError:
            event("drift")
            return
    assert given_rows <= source.ever
    if reader.report.verdict != "uncertified":
        assert source.throughout <= given_rows
    event(f"{source.order} {reader.report.verdict}")


class HollowDoor(MovingDoor):
    """Pages of twenty, each of which claims to be the list."""

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        page = self.source.fetch(query.offset or 0, min(query.limit or 20, 20))
        return replace(page, total=len(page.rows), limit=query.limit, has_more=False)


@pytest.mark.parametrize("order", ["created_desc", "anywhere"])
def test_a_page_that_claims_to_be_the_list_hides_no_row_from_a_first_read(order: str) -> None:
    with ThreadPoolExecutor(1) as executor:
        for size in (21, 60, 250):
            source = MovingList(size=size, order=order)
            reader = reader_of(source, executor, HollowDoor(source))
            reader.stored = 0
            assert {row["id"] for batch in reader.rows() for row in batch} == source.throughout
            assert reader.report.verdict == "uncertified"
            assert source.reads < 50


@pytest.mark.parametrize(("stored", "requests"), [(0, 2), (None, 1), (15, 1), (40, 1)])
def test_an_honest_page_costs_a_first_read_one_more_request(stored: int | None, requests: int) -> None:
    source = MovingList(size=15, order="created_desc")
    with ThreadPoolExecutor(1) as executor:
        reader = reader_of(source, executor)
        reader.stored = stored
        assert len([row for batch in reader.rows() for row in batch]) == 15
    assert (reader.report.verdict, source.reads) == ("certified", requests)


class BoundedDoor(MovingDoor):
    """The same, for a run that may send so many requests."""

    def __init__(self, source: MovingList, requests: int) -> None:
        super().__init__(source)
        self.left = requests

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        if self.left == 0:
            raise BudgetError("used up")
        self.left -= 1
        return super().fetch_page(route, query)


def read_in_parts(source: MovingList, sizes: list[int]) -> tuple[set[str], SearchReader]:
    """Read in several runs with a limited number of requests each; return the ids received in all of them."""
    came: set[str] = set()
    place = None
    with ThreadPoolExecutor(1) as executor:
        for requests in [*sizes, 10_000]:
            reader = reader_of(source, executor, BoundedDoor(source, requests))
            try:
                for batch in reader.rows(resume=place):
                    came |= {row["id"] for row in batch}
                return came, reader
            except BudgetError as error:
                # The place before holds where a run sends no page beyond it.
                place = reader.position or (place if error.can_go_on else None)
                came = came if place else set()
    raise AssertionError(sizes)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(lists(), st.lists(st.integers(1, 9), max_size=3))
def test_no_row_is_lost_in_a_list_that_is_read_in_several_runs(source: MovingList, sizes: list[int]) -> None:
    try:
        came, reader = read_in_parts(source, sizes)
    except DriftError:
        event("drift")
        return
    assert came <= source.ever
    if reader.report.verdict != "uncertified" and reader.report.order_obeyed is not False:
        assert source.throughout <= came
    event(f"{source.order} {reader.report.verdict} in parts: {reader.report.order_obeyed}")


def test_a_list_from_which_rows_went_before_the_place_is_begun_again() -> None:
    # Thirty rows go between the third page and the fourth: by cursor, thirty others would be passed over.
    source = MovingList(size=200, order="created_desc", script={3: [("delete", 0.0, 30)]})
    came, _ = read_in_parts(source, [4])
    assert source.throughout <= came
    assert source.reads == 4 + 9


@pytest.mark.parametrize("size", [0, 1, 20, 21, 100, 133])
def test_a_still_list_is_certified_in_as_many_requests_as_it_has_pages(size: int) -> None:
    source = MovingList(size=size, order="created_desc")
    with ThreadPoolExecutor(1) as executor:
        reader = reader_of(source, executor)
        assert {row["id"] for batch in reader.rows() for row in batch} == source.throughout
    assert reader.report.verdict == "certified"
    assert source.reads == max(1, -(-size // 20))


def test_an_insert_at_the_head_is_found_by_reading_again() -> None:
    source = MovingList(size=100, order="created_desc", script={2: [("insert", 1.0)], 3: [("delete", 0.0, 1)]})
    with ThreadPoolExecutor(1) as executor:
        reader = reader_of(source, executor)
        given_rows = {row["id"] for batch in reader.rows() for row in batch}
    assert source.throughout <= given_rows
    assert reader.report.verdict == "repaired"


# -- answers ---------------------------------------------------------------------------------------------------------

ROWS = [{"id": "a", "type": "task"}, {"id": "b", "type": "review"}]


def answered(pagination: Any, **more: Any) -> Outcome:
    return Outcome(200, structured={"results": ROWS, "pagination": pagination, **more})


PAGES: dict[str, tuple[dict[str, Any], dict[str, Any], Page]] = {
    "cursor first": (
        {"total": 9, "limit": 2, "offset": 0, "has_more": True, "next_offset": 2, "next_cursor": "c2"},
        {"limit": 2},
        Page([], 9, 0, 2, True, "c2"),
    ),
    "then the next offset": (
        {"total": 9, "limit": 2, "offset": 2, "has_more": True, "next_offset": 4, "next_cursor": None},
        {"limit": 2, "offset": 2},
        Page([], 9, 2, 2, True, "\x00place 4"),
    ),
    "then offset and limit": (
        {"total": 9, "limit": 2, "offset": 2, "has_more": True},
        {"limit": 100, "offset": 2},
        Page([], 9, 2, 2, True, "\x00place 4"),
    ),
    "has_more from the total": ({"total": 9, "limit": 2}, {"limit": 2}, Page([], 9, None, 2, True, "\x00place 2")),
    "the end": (
        {"total": 2, "limit": 2, "offset": 0, "has_more": False, "next_cursor": None},
        {"limit": 2},
        Page([], 2, 0, 2, False, None, True),
    ),
}


@pytest.mark.parametrize("case", PAGES)
def test_where_the_next_page_begins(case: str) -> None:
    pagination, arguments, wanted = PAGES[case]
    page = page_of(answered(pagination), "task", arguments, path="/mcp")
    assert replace(page, rows=[]) == wanted
    assert list(page.rows) == [{"id": "a"}, {"id": "b", "type": "review"}]


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(200, structured=None),
        Outcome(200, structured={"results": None}),
        Outcome(200, structured={"results": ["a"]}),
        answered({"mode": "relevance_window", "total": None}),
        answered({"exhaustive": False}),
        answered({}, type="decision"),
    ],
)
def test_what_is_no_list_is_never_an_empty_one(outcome: Outcome) -> None:
    with pytest.raises(EnvelopeError):
        page_of(outcome, "task", {"limit": 2}, path="/mcp")


def tool_error(code: str, **details: Any) -> Outcome:
    error = {"code": code, "message": "No.", "details": details}
    return Outcome(200, is_error=True, structured={"ok": False, "error": error})


FAILURES: dict[str, tuple[Outcome, type[OrgxError], str]] = {
    "words only": (Outcome(200, is_error=True, text="MCP error -32602: no"), OrgxError, "MCP error -32602: no"),
    "an older tool": (
        Outcome(200, structured={"ok": False, "error": "gone", "error_type": "x"}),
        OrgxError,
        "gone (x)",
    ),
    "behind the door": (tool_error("upstream_unavailable"), ServerError, "upstream_unavailable"),
    "a scope": (
        tool_error("permission_denied", required_scopes=["decisions:read"], granted_scopes=["initiatives:read"]),
        ScopeError,
        "scope decisions:read",
    ),
    "the transport": (Outcome(200, rpc_error=(-32603, "Internal error", {"code": "x"})), ServerError, "-32603"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_failed_says_what_to_do(case: str) -> None:
    outcome, kind, said = FAILURES[case]
    failure = failure_of(outcome, "orgx_search", path="/mcp", host="h")
    assert isinstance(failure, kind)
    assert said in str(failure)


# -- sessions --------------------------------------------------------------------------------------------------------


class ScriptedSession:
    """Answers calls from a list; keeps what it was asked."""

    def __init__(self, script: list[Outcome], asked: list[Any]) -> None:
        self.script, self.asked = script, asked

    def open(self, token: str) -> tuple[Outcome, list[Tool]]:
        self.asked.append("open")
        return Outcome(200), [Tool("orgx_search", frozenset({"type", "limit", "cursor", "offset"}))]

    def call(self, token: str, tool: str, arguments: Mapping[str, Any]) -> Outcome:
        self.asked.append(dict(arguments))
        return self.script.pop(0)

    def close(self, token: str | None) -> None:
        self.asked.append("end" if token else "drop")


def door(*script: Outcome) -> tuple[McpTransport, list[Any]]:
    asked: list[Any] = []
    left = list(script)
    return McpTransport("https://h/mcp", GivenToken("t"), lambda url: ScriptedSession(left, asked)), asked


FINE = answered({"total": 2, "limit": 2, "offset": 0, "has_more": False})


def test_a_lost_session_is_opened_anew_once_and_every_request_is_paid_for() -> None:
    transport, asked = door(Outcome(404), FINE)
    spent: list[None] = []
    transport.spend = lambda: spent.append(None)
    assert len(transport.fetch_page(TASKS, PageQuery(limit=2)).rows) == 2
    transport.close()
    assert asked == ["open", {"type": "task", "limit": 2}, "drop", "open", {"type": "task", "limit": 2}, "end"]
    # Three to open it, twice; the call that was sent again; and the end.
    assert len(spent) == 3 + 3 + 1 + 1


def test_a_session_that_is_lost_twice_in_a_row_is_a_failure_that_may_pass() -> None:
    transport, _ = door(Outcome(404), Outcome(404), FINE)
    with pytest.raises(ServerError, match="lost the session twice"):
        transport.fetch_page(TASKS, PageQuery())
    assert transport.fetch_page(TASKS, PageQuery()).total == 2


def test_a_token_that_nobody_can_renew_says_so() -> None:
    transport, _ = door(Outcome(401))
    with pytest.raises(ConfigError, match="ORGX_MCP_TOKEN"):
        transport.fetch_page(TASKS, PageQuery())


def test_each_page_is_asked_for_with_all_its_filters() -> None:
    transport, asked = door(FINE, FINE)
    transport.fetch_page(TASKS, PageQuery(workspace_id="w", cursor="c2"))
    transport.fetch_page(TASKS, PageQuery(workspace_id="w", cursor="\x00place 40"))
    assert asked[1:] == [
        {"type": "task", "limit": 100, "workspace_id": "w", "cursor": "c2"},
        {"type": "task", "limit": 100, "workspace_id": "w", "offset": 40},
    ]
