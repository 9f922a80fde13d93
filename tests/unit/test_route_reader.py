"""Each way in which routes page: what it asks first, what it brings, and how sure it says it is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page
from orgx_source.api.limits import RetryPolicy
from orgx_source.api.listing import Order
from orgx_source.api.query import PageQuery
from orgx_source.api.route_choice import ask_first_open, read_first_open, tells_all
from orgx_source.api.route_reader import READERS, Access, Estimate, RouteReader, open_route
from orgx_source.api.routes import ROUTES, Route
from orgx_source.config import OrgxConfig
from orgx_source.errors import ApiError, ConfigError, DriftError, RouteClosedError, ServerError
from orgx_source.tables import TABLES
from tests.unit.list_transport import HOME, ListTransport

START = datetime(2026, 11, 1, tzinfo=UTC)
BY_NAME = {route.name: (table, route) for table, routes in ROUTES.items() for route in routes}
TASKS, WORK = "/api/entities?type=task", "/api/v1/work"
FEED, AGENTS = "/api/client/live/activity", "/api/client/live/agents"
DECISIONS, ARTIFACTS = "/api/v1/decisions", "/api/client/artifacts/by-entity"
WORKSPACES, BOOTSTRAP = "/api/entities?type=command_center", "/api/client/bootstrap"


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"{number:04}", "created_at": _at(number), "updated_at": _at(number), "timestamp": _at(number)}
        for number in range(first, first + count)
    ]


def _at(minutes: int) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def open_reader(
    transport: ListTransport, name: str, executor: Any, parents: Any = tuple, **settings: Any
) -> RouteReader:
    table, route = BY_NAME[name]
    client = OrgxClient(OrgxConfig(api_key="oxk_12345678", **settings), transport=transport)
    return open_route(Access(client, executor, HOME, parents), TABLES[table], route)


def read(reader: RouteReader, watermark: datetime | None = None) -> list[str]:
    return [row["id"] for batch in reader.rows(watermark) for row in batch]


def test_every_kind_of_paging_has_a_class_and_a_route() -> None:
    assert {route.paging for _, route in BY_NAME.values()} == READERS.keys()


@pytest.mark.parametrize("watermark", [None, START])
@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_asked_first_is_what_a_read_asks_first(name: str, watermark: Any, executor: Any) -> None:
    transport = ListTransport(**{name: rows(3)})
    reader = open_reader(transport, name, executor, parents=lambda: [("initiative", "w")], workspace_id="w")
    reader.first_page(watermark)
    asked = list(transport.asked)
    transport.asked.clear()
    read(reader, watermark)
    assert transport.asked[: len(asked)] == asked
    assert {query.workspace_id for _, query in transport.asked} <= {"w"}


def test_an_offset_list_is_joined_by_its_seams_and_certified(executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(250)})
    reader = open_reader(transport, TASKS, executor)
    assert sorted(read(reader)) == [row["id"] for row in rows(250)]
    assert reader.report.verdict == "certified"
    assert reader.report.totals == (250, 250, 250)
    assert reader.position is not None
    assert {query.order for _, query in transport.asked} == {Order.CREATED}
    assert sorted({query.offset for _, query in transport.asked}) == [0, 90, 180]


def test_changes_are_asked_for_newest_first_and_end_at_the_watermark(executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(500)})
    reader = open_reader(transport, TASKS, executor)
    changed = read(reader, START + timedelta(minutes=450))
    assert set(changed) >= {row["id"] for row in rows(50, 450)}
    assert reader.report.stopped_early
    assert reader.position is None
    assert [query.order for _, query in transport.asked] == [Order.UPDATED]


def test_bootstraps_workspace_joins_the_list_of_workspaces(executor: Any) -> None:
    listed = [{"id": HOME["id"], "slug": "north"}, {"id": "other"}]
    transport = ListTransport(**{WORKSPACES: listed})
    transport.rows[WORKSPACES] = [row | {"created_at": _at(0), "updated_at": _at(0)} for row in listed]
    reader = open_reader(transport, WORKSPACES, executor)
    found = [row for batch in reader.rows(START) for row in batch]
    assert [(row["id"], row.get("name"), row.get("slug")) for row in found] == [
        (HOME["id"], "Northwind", "north"), ("other", None, None),
    ]  # fmt: skip
    assert not reader.report.stopped_early
    transport.rows[WORKSPACES] = transport.rows[WORKSPACES][1:]
    again = open_reader(transport, WORKSPACES, executor)
    assert read(again) == ["other", HOME["id"]]
    assert again.report.totals == (2, 2, 2)


def test_bootstrap_alone_tells_one_workspace_and_says_that_it_does(executor: Any) -> None:
    reader = open_reader(ListTransport(), BOOTSTRAP, executor)
    assert read(reader) == [HOME["id"]]
    assert reader.first(None) is None
    assert reader.first_page() is None
    assert (reader.report.verdict, reader.report.totals) == ("uncertified", (1, 1, 1))


class Cursors(ListTransport):
    """Gives two rows a page, and a cursor to the next one."""

    after: dict[str | None, str | None]

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        self.asked.append((route.name, query))
        start = int(query.cursor or 0)
        following = self.after.get(query.cursor, str(start + 2))
        return Page(self.rows[route.name][start : start + 2], next_cursor=following if start + 2 < 6 else None)


def test_a_cursor_is_followed_to_its_end(executor: Any) -> None:
    transport = Cursors(**{WORK: rows(6)})
    transport.after = {}
    reader = open_reader(transport, WORK, executor)
    assert read(reader, START) == [row["id"] for row in rows(6)]
    assert [query.cursor for _, query in transport.asked] == [None, "2", "4"]
    assert {query.since for _, query in transport.asked} == {START}
    assert reader.report.stopped_early
    assert "the route gives no total to check against" in reader.report.reasons


def test_a_cursor_that_comes_again_ends_the_read_with_an_error(executor: Any) -> None:
    transport = Cursors(**{WORK: rows(6)})
    transport.after = {"2": "2"}
    with pytest.raises(DriftError, match="same cursor twice"):
        read(open_reader(transport, WORK, executor))


class Sliced(ListTransport):
    """Gives the newest so many rows, of all or of those with a status."""

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        self.asked.append((route.name, query))
        found = self.rows[route.name]
        if query.equals:
            found = [row for row in found if row[query.equals[0]] == query.equals[1]]
        return Page(found[: query.limit])


def test_where_one_answer_is_full_each_status_is_asked_for(executor: Any) -> None:
    pending = [row | {"status": "pending"} for row in rows(100)]
    approved = [row | {"status": "approved"} for row in rows(30, 100)]
    transport = Sliced(**{DECISIONS: pending + approved})
    reader = open_reader(transport, DECISIONS, executor)
    assert len(read(reader)) == 130
    assert [query.equals for _, query in transport.asked][:3] == [None, ("status", "pending"), ("status", "approved")]
    assert "older rows may be missing (status=pending)" in " ".join(reader.report.reasons)


def test_where_it_is_not_full_nothing_more_is_asked(executor: Any) -> None:
    transport = Sliced(**{DECISIONS: [row | {"status": "pending"} for row in rows(7)]})
    assert len(read(open_reader(transport, DECISIONS, executor))) == 7
    assert len(transport.asked) == 1


def test_a_feed_that_is_longer_than_one_answer_is_asked_for_a_larger_one(executor: Any) -> None:
    transport = ListTransport(**{FEED: rows(1200)})
    transport.limit_most = 5000
    reader = open_reader(transport, FEED, executor)
    assert len(read(reader)) == 1200
    assert [query.limit for _, query in transport.asked] == [1000, 1300]
    assert reader.report.verdict == "certified"
    transport.limit_most = 1000
    cut = open_reader(transport, FEED, executor)
    assert len(read(cut)) == 1000
    assert "newest 1000 of 1200" in cut.report.reasons[0]


def test_a_feed_or_snapshot_without_a_total_says_so(executor: Any) -> None:
    for name in (FEED, AGENTS):
        transport = ListTransport(**{name: rows(3)})
        transport.totals = False
        reader = open_reader(transport, name, executor)
        assert len(read(reader)) == 3
        assert reader.report.reasons == ["OrgX gave no total to check against"]
        assert reader.report.verdict == "uncertified"


def test_a_snapshot_is_held_against_its_total(executor: Any) -> None:
    transport = ListTransport(**{AGENTS: [*rows(3), {"name": "no id"}]})
    reader = open_reader(transport, AGENTS, executor)
    assert len(read(reader)) == 3
    assert (reader.report.rows_without_id, reader.report.short_by) == (1, 0)
    assert reader.report.reasons == ["rows without an id: 1; they were kept out"]
    transport.limit_most = 2
    short = open_reader(transport, AGENTS, executor)
    read(short)
    assert short.report.short_by == 2
    assert short.report.reasons == ["OrgX counts 4 rows, 2 came"]


def test_entities_are_asked_one_by_one_and_one_that_is_gone_closes_nothing(executor: Any) -> None:
    transport = ListTransport(**{ARTIFACTS: rows(2)})
    transport.fail = lambda name, query: (
        RouteClosedError("gone", status=404, path=name) if query.parent == ("task", "gone") else None
    )
    reader = open_reader(transport, ARTIFACTS, executor, parents=lambda: [("task", "gone"), ("task", "t")])
    assert read(reader) == ["0000", "0001"]
    assert reader.estimate(Page([]), None, 0, 0) == Estimate(None, None)
    transport.fail = lambda name, query: RouteClosedError("no", status=403, path=name)
    with pytest.raises(RouteClosedError):
        read(open_reader(transport, ARTIFACTS, executor, parents=lambda: [("task", "t")]))


def test_ids_are_asked_for_and_an_answer_with_others_is_none(executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(3)})
    reader = open_reader(transport, TASKS, executor)
    assert reader.find_ids(["0001", "9999"]) == {"0001"}
    _, query = transport.asked[-1]
    assert (query.ids, query.fields, query.limit) == (("0001", "9999"), ("id",), 2)
    transport.fetch_page = lambda route, query: Page(rows(3))
    assert reader.find_ids(["0001"]) is None


def test_where_ids_cannot_be_asked_for_the_list_is_read_again(executor: Any) -> None:
    transport = ListTransport(**{AGENTS: rows(3)})
    reader = open_reader(transport, AGENTS, executor)
    assert reader.find_ids(["0001", "9999"]) == {"0001"}
    transport.totals = False
    assert reader.find_ids(["0001"]) is None


@pytest.mark.parametrize(
    ("name", "page", "watermark", "offset", "known", "estimate"),
    [
        (TASKS, Page(rows(100), total=1000, limit=100), None, 0, 0, Estimate(1000, 11)),
        (TASKS, Page(rows(100), total=1000, limit=100), None, 900, 0, Estimate(100, 1)),
        (TASKS, Page(rows(100), limit=100), None, 0, 0, Estimate(100, 1, at_least=True)),
        (TASKS, Page(rows(100), total=1000, limit=100), START, 0, 1000, Estimate(100, 2, at_least=True)),
        (TASKS, Page(rows(100), total=1000), START + timedelta(minutes=50), 0, 1000, Estimate(100, 1)),
        (TASKS, Page(rows(100), total=1000), START + timedelta(1), 0, 1001, Estimate(1000, 12, then_whole=True)),
        (WORKSPACES, Page(rows(2), total=2), START, 0, 2, Estimate(2, 1)),
        (FEED, Page(rows(5), total=5), START, 0, 900, Estimate(5, 1)),
        (FEED, Page(rows(5), total=6), START, 0, 900, Estimate(5, 1, at_least=True)),
        (WORK, Page(rows(5), next_cursor="5"), None, 0, 0, Estimate(5, 1, at_least=True)),
        (AGENTS, Page(rows(5)), None, 0, 0, Estimate(5, 1)),
    ],
)
def test_what_a_read_will_cost_is_told_by_its_first_page(
    name: str, page: Page, watermark: Any, offset: int, known: int, estimate: Estimate, executor: Any
) -> None:
    assert open_reader(ListTransport(), name, executor).estimate(page, watermark, offset, known) == estimate


# -- which route -----------------------------------------------------------------------------------------------------


def refusing(*statuses: int) -> Any:
    """Return what reads a route: each refuses with its status, and those without one answer."""
    names = [route.name for route in ROUTES["artifacts"]]
    refusals = dict(zip(names, statuses, strict=False))

    def ask(route: Route) -> str:
        status = refusals.get(route.name, 0)
        if status:
            raise ApiError(f"{status} from {route.path}", status=status, path=route.path)
        return route.name

    return ask


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
def test_a_route_that_refuses_leads_to_the_next(status: int) -> None:
    closed: list[str] = []
    assert ask_first_open("artifacts", {}, refusing(status), closed) == "/api/v1/artifacts"
    assert closed == [f"/api/entities?type=artifact ({status})"]


def test_when_every_route_refuses_all_are_named() -> None:
    with pytest.raises(RouteClosedError, match=r"artifacts: no route is open .*\(403\).*\(404\).*\(422\)") as caught:
        ask_first_open("artifacts", {}, refusing(403, 404, 422), [])
    assert (caught.value.status, caught.value.path) == (422, "/api/client/artifacts/by-entity")


def test_another_error_is_no_refusal() -> None:
    with pytest.raises(ApiError, match="500"):
        ask_first_open("artifacts", {}, refusing(500), [])


def test_what_a_route_gave_before_it_refused_is_kept() -> None:
    def read(route: Route) -> Iterator[str]:
        yield f"first of {route.name}"
        if route.name == TASKS:
            raise ApiError("403", status=403, path=route.path)

    assert list(read_first_open("tasks", {}, read, [])) == [f"first of {TASKS}", f"first of {WORK}"]


def test_only_the_route_that_is_pinned_is_asked() -> None:
    assert ask_first_open("artifacts", {"artifacts": "/api/v1/artifacts"}, refusing(), []) == "/api/v1/artifacts"
    with pytest.raises(ConfigError, match="tasks has no route /nowhere; it can be read from"):
        ask_first_open("tasks", {"tasks": "/nowhere"}, refusing(), [])


def test_the_first_route_tells_all_and_the_others_a_part() -> None:
    assert [tells_all("artifacts", route) for route in ROUTES["artifacts"]] == [True, False, False]


# -- the client around a transport -----------------------------------------------------------------------------------


def test_the_client_sends_again_whatever_the_transport_is() -> None:
    transport = ListTransport(**{TASKS: rows(1)})
    failures = [ServerError("503", status=503, path="/"), ServerError("503", status=503, path="/")]
    transport.fail = lambda name, query: failures.pop() if failures else None
    client = OrgxClient(OrgxConfig(api_key="oxk_12345678"), transport=transport, policy=RetryPolicy(base_seconds=0))
    assert len(client.fetch_page(BY_NAME[TASKS][1], PageQuery()).rows) == 1
    assert (client.budget.spent, client.budget.retries) == (3, 2)


def test_what_a_transport_says_of_limits_reaches_the_budget() -> None:
    transport = ListTransport()
    client = OrgxClient(OrgxConfig(api_key="oxk_12345678"), transport=transport)
    transport.observe({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "7", "x-ratelimit-reset": "1"})
    assert (client.budget.limit, client.budget.remaining) == (100, 7)
