"""Each way in which routes page: what it asks first, what it brings, and how sure it says it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page
from orgx_source.api.feed_reader import FeedReader
from orgx_source.api.limits import RetryPolicy
from orgx_source.api.listing import Order
from orgx_source.api.query import PageQuery
from orgx_source.api.readers import READERS, open_route
from orgx_source.api.route_choice import ask_first_open, read_first_open, tells_all
from orgx_source.api.route_reader import Access, Estimate, RouteReader
from orgx_source.api.routes import ROUTES, Route
from orgx_source.config import OrgxConfig
from orgx_source.errors import (
    ApiError,
    AuthError,
    BudgetError,
    ConfigError,
    DriftError,
    RouteClosedError,
    ServerError,
)
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


def test_every_table_has_routes_and_a_plain_one_those_of_an_entity() -> None:
    assert list(ROUTES) == list(TABLES)
    assert [route.name for route in ROUTES["workstreams"]] == ["/api/entities?type=workstream", "mcp"]
    assert [route.params for route in ROUTES["milestones"]] == [{"type": "milestone"}] * 2


def test_every_kind_of_paging_has_a_class_and_a_route() -> None:
    assert {route.paging for routes in ROUTES.values() for route in routes} == READERS.keys()


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


def test_times_beyond_the_clock_of_orgx_are_no_place_to_go_on(executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(250)})
    transport.server_time = START + timedelta(minutes=50)
    reader = open_reader(transport, TASKS, executor)
    next(reader.rows())
    assert reader.position is not None
    assert reader.position.covered_to == (START + timedelta(minutes=50)).timestamp()


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


@pytest.mark.parametrize(("in_bootstrap", "in_list"), [("ABC-7", "abc-7"), (7, "7"), (7, 7)])
def test_an_id_that_bootstrap_spells_in_its_own_way_is_one_workspace(
    in_bootstrap: Any, in_list: Any, executor: Any
) -> None:
    listed = {"id": in_list, "slug": "north", "created_at": _at(0), "updated_at": _at(0)}
    transport = ListTransport(**{WORKSPACES: [listed]})
    reader = open_reader(transport, WORKSPACES, executor)
    reader._access = replace(reader._access, workspace={**HOME, "id": in_bootstrap})
    found = [row for batch in reader.rows() for row in batch]
    assert [(row["id"], row["name"], row["slug"]) for row in found] == [(str(in_list), "Northwind", "north")]
    assert (reader.report.totals, reader.report.verdict) == ((1, 1, 1), "certified")


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
    assert "the route reports no total to compare with" in reader.report.reasons


def test_a_cursor_that_comes_again_ends_the_read_with_an_error(executor: Any) -> None:
    transport = Cursors(**{WORK: rows(6)})
    transport.after = {"2": "2"}
    with pytest.raises(DriftError, match="same cursor twice"):
        read(open_reader(transport, WORK, executor))


@pytest.mark.parametrize(
    ("pages", "count", "short_by", "says"),
    [
        # More is promised, without a cursor.
        ([Page(rows(5), has_more=True)], 5, 1, "says that more rows follow"),
        ([Page(rows(5), next_cursor="5"), Page(rows(5, 5), has_more=True)], 10, 1, "says that more rows follow"),
        ([Page(rows(100), total=250)], 100, 150, "OrgX counts 250 rows, 100 were received"),
        ([Page(rows(5), total=6, has_more=False)], 5, 1, "OrgX counts 6 rows, 5 were received"),
        ([Page(rows(5), total=4)], 5, 0, "its total is unreliable"),
        ([Page(rows(100))], 100, 0, "full and may be incomplete"),
        ([Page(rows(20), limit=20)], 20, 0, "full and may be incomplete"),
        ([Page([*rows(1), {"name": "no id"}], has_more=False)], 1, 0, "rows without an id: 1"),
        # Ends that are none, and ends that are one.
        ([Page([], next_cursor="0"), Page(rows(5), total=5, has_more=False)], 5, 0, ""),
        ([Page(rows(5), next_cursor="e", has_more=False), Page(rows(2, 5), total=7)], 7, 0, ""),
        ([Page(rows(5), next_cursor="e", has_more=False), Page(rows(5), next_cursor="e", has_more=False)], 5, 0, "no"),
        ([Page(rows(5), next_cursor="e"), Page([], next_cursor="e", total=5)], 5, 0, ""),
        ([Page(rows(100), names_no_cursor=True)], 100, 0, "no total"),
        ([Page(rows(100), next_cursor="0"), Page(rows(100, 100))], 200, 0, "no total"),
    ],
)  # fmt: skip
def test_more_that_is_promised_without_a_cursor_is_missing(
    pages: list[Page], count: int, short_by: int, says: str, executor: Any
) -> None:
    transport = ListTransport()
    transport.fetch_page = lambda route, query: pages.pop(0)
    reader = open_reader(transport, WORK, executor)
    assert len(read(reader)) == count
    assert reader.report.short_by == short_by
    # What the route lacks by itself is said always.
    assert says in " ".join(reader.report.reasons)
    assert not pages
    assert says or reader.report.reasons == [reader.route.caveat]


def test_pages_that_bring_nothing_new_end_with_an_error_however_many_cursors_they_name(executor: Any) -> None:
    numbers = iter(range(1_000_000))
    transport = ListTransport()
    transport.fetch_page = lambda route, query: Page(rows(2), next_cursor=str(next(numbers)))
    with pytest.raises(DriftError, match="without a new row"):
        read(open_reader(transport, WORK, executor))


def test_a_total_beside_a_cursor_counts_the_whole_list_or_what_changed(executor: Any) -> None:
    for total, totals in ((5, None), (9, (9, 9, 9))):
        transport = ListTransport()
        transport.fetch_page = lambda route, query, total=total: Page(rows(5), total=total)
        reader = open_reader(transport, WORK, executor)
        assert len(read(reader, START)) == 5
        assert (reader.report.totals, reader.report.short_by) == (totals, 0)


class Sliced(ListTransport):
    """Gives the newest so many rows, of all or of those with a status; says nothing of what it left out.

    Attributes:
        told: What each answer says besides.
        obeys: Whether the filter is.
        claims: What each answer says of itself as if it were the list: its total, its end.
    """

    told: Mapping[str, Any] = MappingProxyType({})
    obeys = True
    claims: Sequence[str] = ()

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        self.asked.append((route.name, query))
        if failure := self.fail(route.name, query):
            raise failure
        found = self.rows[route.name]
        if query.equals and self.obeys:
            found = [row for row in found if row.get(query.equals[0]) == query.equals[1]]
        found = found[: min(query.limit or 20, self.limit_most)]
        claims = {"total": len(found), "has_more": False}
        return Page(found, **self.told, **{name: claims[name] for name in self.claims})


def decisions(**counts: int) -> list[dict[str, Any]]:
    """Return so many rows of each status, interleaved."""
    made = [status for number in range(max(counts.values())) for status, count in counts.items() if number < count]
    return [row | {"status": status} for row, status in zip(rows(len(made)), made, strict=True)]


NO_TOTAL = "the route reports no total to compare with"
FULL = "responses were full, older rows may be missing"
CUT = "responses may be truncated, older rows may be missing"


@pytest.mark.parametrize(
    ("counts", "most", "came", "reasons"),
    [
        # As long as the longest answer: cut perhaps, or surely where another one was.
        ({"pending": 60}, 20, 20, [f"{CUT} (status=pending)"]),
        ({"pending": 7}, 20, 7, [f"{CUT} (status=pending)"]),
        (
            {"pending": 40, "approved": 15, "declined": 5},
            20,
            40,
            [f"{FULL} (status=pending)", "other values of status"],
        ),
        ({"pending": 110, "approved": 30}, 100, 130, [f"{FULL} (status=pending)", "other values of status"]),
        # Nothing was cut, or all that was cut came by the slices.
        ({"pending": 4, "approved": 3}, 20, 7, []),
        (
            {"pending": 15, "approved": 15, "declined": 15, "cancelled": 15},
            20,
            60,
            ["other values of status may be missing (0"],
        ),
        # A status that nobody named is asked for where a row has it.
        ({"pending": 15, "odd": 15}, 20, 30, ["other values of status may be missing (0"]),
    ],
)
def test_a_short_answer_is_asked_for_in_slices(
    counts: dict[str, int], most: int, came: int, reasons: list[str], executor: Any
) -> None:
    transport = Sliced(**{DECISIONS: decisions(**counts)})
    transport.limit_most = most
    reader = open_reader(transport, DECISIONS, executor)
    assert len(read(reader)) == came
    found = reader.report.reasons
    assert len(found) == len(reasons) + 1
    assert all(any(reason in said for said in found) for reason in [*reasons, NO_TOTAL])
    assert reader.report.verdict == "uncertified"


@pytest.mark.parametrize(
    ("told", "verdict"),
    [({"total": 7}, "certified"), ({"has_more": False}, "uncertified"), ({"limit": 20}, "uncertified")],
)
def test_where_the_end_is_proven_one_request_is_all(told: dict[str, Any], verdict: str, executor: Any) -> None:
    transport = Sliced(**{DECISIONS: decisions(pending=7)})
    transport.told = told
    reader = open_reader(transport, DECISIONS, executor)
    assert len(read(reader)) == 7
    assert (len(transport.asked), reader.report.verdict) == (1, verdict)
    empty = Sliced(**{DECISIONS: []})
    assert read(open_reader(empty, DECISIONS, executor)) == []
    assert len(empty.asked) == 1


@pytest.mark.parametrize("told", [{}, {"limit": 100}])
@pytest.mark.parametrize("claims", [["total"], ["has_more"], ["total", "has_more"]])
@pytest.mark.parametrize(
    ("counts", "most", "came", "says"),
    [
        ({"pending": 15, "approved": 15, "declined": 15, "cancelled": 15}, 20, 60, "other values of status"),
        ({"pending": 40, "approved": 15}, 20, 35, FULL),
        ({"pending": 6, "approved": 4}, 7, 10, "other values of status"),
    ],
)
def test_an_answer_that_counts_itself_is_no_list(
    counts: dict[str, int], most: int, came: int, says: str, claims: list[str], told: Any, executor: Any
) -> None:
    transport = Sliced(**{DECISIONS: decisions(**counts)})
    transport.told, transport.limit_most, transport.claims = told, most, claims
    for stored in (0, most + 1):
        reader = open_reader(transport, DECISIONS, executor)
        reader.stored = stored
        assert len(read(reader)) == came
        assert says in " ".join(reader.report.reasons)
        assert reader.report.verdict == "uncertified"
    transport.asked.clear()
    reader = open_reader(transport, DECISIONS, executor)
    reader.stored = most
    assert (len(read(reader)), len(transport.asked)) == (most, 1)


@pytest.mark.parametrize("stored", [0, 8])
@pytest.mark.parametrize("told", [{"total": 7}, {"total": 7, "has_more": False}])
def test_an_honest_short_list_costs_one_more_request_to_prove(stored: int, told: Any, executor: Any) -> None:
    transport = Sliced(**{DECISIONS: decisions(pending=7)})
    transport.told = told
    reader = open_reader(transport, DECISIONS, executor)
    reader.stored = stored
    assert (len(read(reader)), reader.report.verdict) == (7, "certified")
    assert [query.limit for _, query in transport.asked] == [100, 3]


@pytest.mark.parametrize(
    ("told", "came", "short_by", "says"),
    [
        ({"total": 60}, 20, 40, "OrgX counts 60 rows, 20 were received"),
        ({"total": 20, "limit": 20}, 20, 0, CUT),
        ({"has_more": True}, 20, 1, "says that more rows follow"),
    ],
)
def test_what_one_answer_promises_and_no_slice_brings_is_missing(
    told: dict[str, Any], came: int, short_by: int, says: str, executor: Any
) -> None:
    transport = Sliced(**{DECISIONS: decisions(pending=60)})
    transport.told, transport.limit_most = told, 20
    reader = open_reader(transport, DECISIONS, executor)
    assert (len(read(reader)), reader.report.short_by) == (came, short_by)
    assert says in " ".join(reader.report.reasons) or FULL in " ".join(reader.report.reasons)


def test_a_filter_that_is_not_honoured_is_noticed_and_given_up(executor: Any) -> None:
    transport = Sliced(**{DECISIONS: decisions(pending=30, approved=30)})
    transport.limit_most, transport.obeys = 20, False
    reader = open_reader(transport, DECISIONS, executor)
    assert len(read(reader)) == 20
    assert len(transport.asked) == 3
    assert "status is not honoured as a filter (pending, approved)" in " ".join(reader.report.reasons)
    assert f"{CUT} (without a filter)" in reader.report.reasons


def test_a_filter_that_is_refused_closes_no_route(executor: Any) -> None:
    transport = Sliced(**{DECISIONS: decisions(pending=15, approved=15)})
    transport.limit_most = 20
    transport.fail = lambda name, query: (
        ApiError("400", status=400, path=name) if query.equals == ("status", "declined") else None
    )
    reader = open_reader(transport, DECISIONS, executor)
    assert len(read(reader)) == 30
    assert reader.refused == ["status=declined (400)"]
    assert "status=declined was refused" in " ".join(reader.report.reasons)


def test_a_list_of_one_answer_that_names_a_cursor_is_followed(executor: Any) -> None:
    pages = [Page(rows(5), next_cursor="5"), Page(rows(5, 5), total=10)]
    transport = ListTransport()
    transport.fetch_page = lambda route, query: pages.pop(0)
    assert len(read(open_reader(transport, DECISIONS, executor))) == 10


class Feed(ListTransport):
    """Gives the newest events first.

    Attributes:
        counts_all: Whether the total counts all events, whatever is asked for.
        counts_answer: Whether the total counts the events of the answer.
        ends_always: Whether each answer says that nothing follows.
        says: Whether an answer says how long it may be and whether more follows.
        oldest_first: Whether it gives those instead.
    """

    counts_all = False
    counts_answer = False
    ends_always = False
    says = False
    oldest_first = False

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        self.rows[route.name].sort(key=lambda row: row["timestamp"], reverse=not self.oldest_first)
        page = super().fetch_page(route, query)
        total = len(self.rows[route.name]) if self.counts_all and self.totals else page.total
        total = len(page.rows) if self.counts_answer else total
        if self.ends_always:
            return Page(page.rows, total=total, has_more=False)
        return (
            Page(page.rows, total=total) if not self.says else Page(page.rows, total, None, page.limit, page.has_more)
        )


def feed(count: int, most: int = 5000, **traits: Any) -> Feed:
    transport = Feed(**{FEED: rows(count)})
    transport.limit_most = most
    for name, value in traits.items():
        setattr(transport, name, value)
    return transport


@pytest.mark.parametrize(
    ("transport", "since", "came", "reached", "limits", "says"),
    [
        # One request where the total proves it, a larger answer where it does not hold all.
        (feed(500), 400, 100, None, [1000], ""),
        (feed(1200), None, 1200, None, [1000, 1300], ""),
        (feed(3000), 1000, 2000, None, [1000, 2100], ""),
        # The server gives no larger one: what is missing lies before this event.
        (feed(1200, 1000), None, 1000, 200, [1000, 1300], "newest 1000 of 1200 events (back to 2026-11-01 03:20"),
        (feed(500, 100), 250, 100, 400, [1000, 101], "newest 100 of 250 events"),
        (feed(500, 100, says=True), 250, 100, 400, [1000], "newest 100 of 250 events"),
        # The total counts other events than the window: one older event shows that the answer was not cut.
        (feed(500, counts_all=True), 400, 101, None, [1000, 101], ""),
        (feed(500, counts_all=True), 600, 1, None, [1000, 1], ""),
        (feed(500, 100, counts_all=True), 250, 100, 400, [1000, 101], "newest 100 of 500 events"),
        # The total of the whole feed may count only the answer, which a shorter one shows.
        (feed(500), None, 500, None, [1000, 250], ""),
        (feed(1200, 500, counts_answer=True), None, 500, 700, [1000, 250], "500 events received may not be all"),
        (feed(9, 7, counts_answer=True, ends_always=True), None, 7, 2, [1000, 3], "7 events received may not be all"),
        (feed(900, 500, totals=False, ends_always=True), None, 500, 400, [1000, 250], "may not be all"),
        (feed(500, ends_always=True), None, 500, None, [1000, 250], ""),
        # No total.
        (feed(500, totals=False), 400, 101, None, [1000, 101], "no total"),
        (feed(500, totals=False), 600, 0, None, [1000], "no total"),
        (feed(1200, 1000, totals=False), None, 1000, 200, [1000, 10_000], "may not be all"),
        (feed(1200, totals=False), None, 1200, 0, [1000, 10_000], "may not be all"),
        (feed(1200, totals=False, says=True), None, 1200, None, [1000, 10_000], "no total"),
        (feed(500, 100, totals=False), 250, 100, 400, [1000, 101], "may not be all"),
        (feed(0, totals=False), None, 0, None, [1000], "no total"),
        # The oldest first: read on from the newest event.
        (feed(500, 100, oldest_first=True), 250, 250, None, [1000, 101, 1000, 1000, 1000], ""),
    ],
)
def test_a_feed_says_how_far_back_it_is_proven(
    transport: Feed, since: int | None, came: int, reached: int | None, limits: list[int], says: str, executor: Any
) -> None:
    transport.asked.clear()
    reader = open_reader(transport, FEED, executor)
    assert isinstance(reader, FeedReader)
    assert len(set(read(reader, None if since is None else START + timedelta(minutes=since)))) >= came
    assert reader.reached == (None if reached is None else START + timedelta(minutes=reached))
    assert [query.limit for _, query in transport.asked] == limits
    assert says in " ".join(reader.report.reasons)
    assert (reader.report.verdict == "certified") == (not says)


@pytest.mark.parametrize("status", [400, 413, 503])
def test_a_larger_answer_that_is_refused_costs_nothing_that_came(status: int, executor: Any) -> None:
    transport = feed(1200)
    failure = (ServerError if status == 503 else ApiError)("no", status=status, path="/")
    transport.fail = lambda name, query: failure if query.limit == 1300 else None
    client = OrgxClient(OrgxConfig(api_key="oxk_12345678"), transport=transport, policy=RetryPolicy(attempts=1))
    reader = open_route(Access(client, executor, HOME), TABLES["activity"], BY_NAME[FEED][1])
    assert len(read(reader)) == 1000
    assert isinstance(reader, FeedReader)
    assert reader.reached == START + timedelta(minutes=200)
    assert reader.refused == [f"limit=1300 ({status})"]


def test_a_cursor_of_a_feed_leads_to_older_events_or_to_those_to_come(executor: Any) -> None:
    for second, came in ((Page(rows(5, 5)), 10), (Page([], next_cursor="c"), 5)):
        pages = [Page(rows(5), next_cursor="c", total=5), second]
        transport = ListTransport()
        transport.fetch_page = lambda route, query, pages=pages: pages.pop(0)
        reader = open_reader(transport, FEED, executor)
        assert len(read(reader)) == came
        assert isinstance(reader, FeedReader)
        assert reader.reached is None


def test_a_feed_or_snapshot_without_a_total_says_so(executor: Any) -> None:
    for name in (FEED, AGENTS):
        transport = ListTransport(**{name: rows(3)})
        transport.totals = False
        reader = open_reader(transport, name, executor)
        assert len(read(reader)) == 3
        assert reader.report.reasons == ["OrgX reports no total to compare with"]
        assert reader.report.verdict == "uncertified"


@pytest.mark.parametrize("name", [AGENTS, FEED, WORK])
def test_an_id_that_names_two_rows_of_a_response_is_reported(name: str, executor: Any) -> None:
    twin = {**rows(1)[0], "title": "another"}
    reader = open_reader(ListTransport(**{name: [*rows(3), twin]}), name, executor)
    assert sorted(read(reader)) == ["0000", "0001", "0002"]
    assert "1 ids name more than one row of a response (0000); of each, only the last is kept" in reader.report.reasons
    copied = open_reader(ListTransport(**{name: [*rows(3), *rows(1)]}), name, executor)
    assert sorted(read(copied)) == ["0000", "0001", "0002"]
    assert "more than one row" not in " ".join(copied.report.reasons)


def test_a_snapshot_is_held_against_its_total(executor: Any) -> None:
    transport = ListTransport(**{AGENTS: [*rows(3), {"name": "no id"}]})
    reader = open_reader(transport, AGENTS, executor)
    assert len(read(reader)) == 3
    assert (reader.report.rows_without_id, reader.report.short_by) == (1, 0)
    assert reader.report.reasons == ["rows without an id: 1; they were skipped"]
    transport.limit_most = 2
    transport.totals = False
    promised = open_reader(transport, AGENTS, executor)
    read(promised)
    assert promised.report.short_by == 1
    transport.totals = True
    short = open_reader(transport, AGENTS, executor)
    read(short)
    assert short.report.short_by == 2
    assert short.report.reasons == ["OrgX counts 4 rows, 2 were received"]


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


def test_ids_are_asked_for_until_none_of_them_comes(executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(3)})
    reader = open_reader(transport, TASKS, executor)
    assert reader.find_ids(["0001", "9999"]) == {"0001"}
    assert [(query.ids, query.fields, query.limit) for _, query in transport.asked] == [
        (("0001", "9999"), ("id",), 2), (("9999",), ("id",), 1),
    ]  # fmt: skip


def test_an_answer_for_ids_that_was_cut_makes_no_row_look_gone(executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(50)})
    transport.limit_most = 20
    transport.fail = lambda name, query: None
    reader = open_reader(transport, TASKS, executor)
    wanted = [row["id"] for row in rows(50)]
    assert reader.find_ids([*wanted, "9999"]) == set(wanted)


@pytest.mark.parametrize(
    "answer",
    [
        [{"id": "0000"}, {"id": "0002"}],  # The filter is ignored.
        [{"id": "9999"}],  # Another row than those asked for.
        [],  # Not even the row that was read a moment ago.
    ],
)
def test_an_answer_that_is_none_to_the_question_leads_to_a_second_read(answer: Any, executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(3)})
    reader = open_reader(transport, TASKS, executor)
    read(reader)
    fetch = transport.fetch_page
    transport.fetch_page = lambda route, query: Page(answer) if query.ids else fetch(route, query)
    assert reader.find_ids(["0001", "7777"]) == {"0001"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 414, 422, 501])
def test_ids_that_are_refused_close_no_route(status: int, executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(3)})
    transport.fail = lambda name, query: ApiError("no", status=status, path=name) if query.ids else None
    reader = open_reader(transport, TASKS, executor)
    assert reader.find_ids(["0001", "9999"]) == {"0001"}
    assert reader.refused == [f"ids ({status})"]
    transport.totals = False
    assert reader.find_ids(["0001"]) is None


def test_a_failure_is_no_refusal_of_ids(executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(3)})
    transport.fail = lambda name, query: AuthError("no", status=401, path=name) if query.ids else None
    with pytest.raises(AuthError):
        open_reader(transport, TASKS, executor).find_ids(["0001"])


def test_where_only_the_choice_of_keys_is_refused_ids_are_asked_for_without(executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(3)})
    transport.fail = lambda name, query: ApiError("no", status=400, path=name) if query.fields else None
    reader = open_reader(transport, TASKS, executor)
    assert reader.find_ids(["0001", "9999"]) == {"0001"}
    assert reader.refused == ["fields (400)"]
    assert [query.ids for _, query in transport.asked] == [("0001", "9999"), ("0001", "9999"), ("9999",)]


@pytest.mark.parametrize(
    ("name", "watermark", "refused", "says"),
    [
        (TASKS, None, lambda query: query.order is Order.CREATED, ["order (400)"]),
        (TASKS, START, lambda query: query.order is Order.UPDATED, ["order (400)"]),
        (TASKS, None, lambda query: query.limit is not None, ["limit (400)"]),
        (TASKS, None, lambda query: query.limit or query.order is Order.CREATED, ["order (400)", "limit (400)"]),
        (WORK, START, lambda query: query.since is not None, ["since (400)"]),
        (FEED, START, lambda query: query.since is not None, ["since (400)"]),
        (DECISIONS, None, lambda query: query.limit is not None, ["limit (400)"]),
    ],
)
def test_a_list_is_read_without_what_is_refused(
    name: str, watermark: Any, refused: Any, says: list[str], executor: Any
) -> None:
    transport = ListTransport(**{name: rows(50)})
    transport.limit_most = 20 if name == TASKS else 100
    transport.fail = lambda path, query: ApiError("no", status=400, path=path) if refused(query) else None
    reader = open_reader(transport, name, executor)
    assert len(set(read(reader, watermark))) == 50
    assert reader.refused == says
    assert not reader.report.stopped_early
    first = open_reader(transport, name, executor).first_page(watermark)
    assert first is not None and len(first.rows) > 1


def test_a_route_that_refuses_the_plain_question_too_is_closed(executor: Any) -> None:
    transport = ListTransport(**{TASKS: rows(3)})
    transport.fail = lambda name, query: ApiError("no", status=400, path=name)
    reader = open_reader(transport, TASKS, executor)
    with pytest.raises(ApiError):
        read(reader)
    assert (len(transport.asked), reader.refused) == (2, [])


def test_where_ids_cannot_be_asked_for_the_list_is_read_again(executor: Any) -> None:
    transport = ListTransport(**{AGENTS: rows(3)})
    reader = open_reader(transport, AGENTS, executor)
    assert reader.find_ids(["0001", "9999"]) == {"0001"}
    transport.totals = False
    assert reader.find_ids(["0001"]) is None


def test_a_list_of_which_some_may_be_missing_is_not_read_again_for_ids(executor: Any) -> None:
    transport = ListTransport(**{WORK: rows(3)})
    assert open_reader(transport, WORK, executor).find_ids(["0001"]) is None
    assert transport.asked == []


# -- bounds ----------------------------------------------------------------------------------------------------------


class Unsorted(ListTransport):
    """Ignores the order, as a route does that knows none."""

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        return super().fetch_page(route, replace(query, order=Order.UNKNOWN))


@pytest.mark.parametrize(
    ("transport", "name", "watermark", "requests", "can_go_on", "needs", "says"),
    [
        (ListTransport, TASKS, None, 3, True, None, "the next run continues from there"),
        (ListTransport, TASKS, START, 3, False, 4, "a list of changes cannot be read in parts"),
        (Unsorted, "/api/client/live/initiatives", None, 3, False, 20, "one read takes at least 20 requests"),
        (Cursors, WORK, None, 2, False, 3, "one read takes at least 3 requests"),
        (ListTransport, TASKS, None, 0, False, None, "nothing was read there"),
    ],
)
def test_a_bound_that_ends_a_read_says_what_becomes_of_it(
    transport: Any, name: str, watermark: Any, requests: int, can_go_on: bool, needs: int | None, says: str
) -> None:
    there = transport(**{name: rows(900)})
    there.after = {}
    with ThreadPoolExecutor(1) as executor:
        reader = open_reader(there, name, executor, max_requests=requests)
        with pytest.raises(BudgetError) as caught:
            read(reader, watermark)
    assert (caught.value.can_go_on, caught.value.needs) == (can_go_on, needs)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"this run's {requests} requests are used up (--max-requests); the rows read")


def test_a_bound_says_its_prospect_once() -> None:
    error = BudgetError("used up").add("one").add("two")
    assert str(error) == "used up; two"


@pytest.mark.parametrize(
    ("name", "page", "watermark", "offset", "known", "estimate"),
    [
        (TASKS, Page(rows(100), total=1000, limit=100), None, 0, 0, Estimate(1000, 11)),
        (TASKS, Page(rows(100), total=1000, limit=100), None, 900, 0, Estimate(100, 1)),
        (TASKS, Page(rows(100), limit=100), None, 0, 0, Estimate(100, 2, at_least=True)),
        (TASKS, Page(rows(60), total=60, limit=100), None, 0, 0, Estimate(60, 2)),
        (TASKS, Page(rows(60), total=60, limit=100), None, 0, 60, Estimate(60, 1)),
        (TASKS, Page(rows(60), total=60, limit=100), None, 0, 61, Estimate(60, 2)),
        (TASKS, Page(rows(1), total=1, limit=100), None, 0, 0, Estimate(1, 1)),
        (TASKS, Page(rows(100), total=1000, limit=100), START, 0, 1000, Estimate(100, 2, at_least=True)),
        (TASKS, Page(rows(100), total=1000), START + timedelta(minutes=50), 0, 1000, Estimate(100, 1)),
        (TASKS, Page(rows(100), total=1000), START + timedelta(1), 0, 1001, Estimate(1000, 12, then_whole=True)),
        (WORKSPACES, Page(rows(2), total=2), START, 0, 2, Estimate(2, 1)),
        (FEED, Page(rows(5), total=5), START, 0, 900, Estimate(5, 1)),
        (FEED, Page(rows(5), total=6), START, 0, 900, Estimate(5, 1, at_least=True)),
        (WORK, Page(rows(5), next_cursor="5"), None, 0, 0, Estimate(5, 1, at_least=True)),
        (WORK, Page(rows(5), has_more=True), None, 0, 0, Estimate(5, 1, at_least=True)),
        (AGENTS, Page(rows(5)), None, 0, 0, Estimate(5, 1)),
        (DECISIONS, Page(rows(5)), None, 0, 0, Estimate(5, 6, at_least=True)),
        (DECISIONS, Page(rows(5), has_more=False), None, 0, 0, Estimate(5, 2)),
        (DECISIONS, Page(rows(5), has_more=False), None, 0, 5, Estimate(5, 1)),
    ],
)
def test_what_a_read_will_cost_is_told_by_its_first_page(
    name: str, page: Page, watermark: Any, offset: int, known: int, estimate: Estimate, executor: Any
) -> None:
    assert open_reader(ListTransport(), name, executor).estimate(page, watermark, offset, known) == estimate


@pytest.mark.parametrize(("sizes", "says"), [((20, 20, 3), "2 entities have 20 rows"), ((20, 3), ""), ((3, 3), "")])
def test_answers_for_entities_that_are_equally_long_may_be_cut(sizes: Any, says: str, executor: Any) -> None:
    pages = [Page(rows(size, 100 * number)) for number, size in enumerate(sizes)]
    transport = ListTransport()
    transport.fetch_page = lambda route, query: pages[int(query.parent[1])]
    reader = open_reader(
        transport, ARTIFACTS, executor, parents=lambda: [("task", str(number)) for number in range(len(sizes))]
    )
    read(reader)
    assert says in " ".join(reader.report.reasons)
    assert bool(says) == ("may be truncated" in " ".join(reader.report.reasons))
    assert reader.report.totals is None


@pytest.mark.parametrize("status", [400, 403, 422])
def test_one_entity_that_is_refused_closes_no_route(status: int, executor: Any) -> None:
    transport = ListTransport(**{ARTIFACTS: rows(2)})
    transport.fail = lambda name, query: (
        ApiError("no", status=status, path=name) if query.parent == ("decision", "d") else None
    )
    reader = open_reader(transport, ARTIFACTS, executor, parents=lambda: [("decision", "d"), ("task", "t")])
    assert read(reader) == ["0000", "0001"]
    assert f"refused to list the artifacts of 1 entities ({status})" in " ".join(reader.report.reasons)


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
    assert [tells_all("artifacts", route) for route in ROUTES["artifacts"]] == [True, False, False, False]


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
