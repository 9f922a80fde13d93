"""What the tables of a run share: stretches, the workspace, other workspaces, parents of artifacts, and clocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.limits import RetryPolicy
from orgx_source.config import OrgxConfig
from orgx_source.errors import AuthError, ConfigError, ServerError
from orgx_source.reading.session import ReadSession, Stretch
from orgx_source.tables import TABLES
from tests.unit.list_transport import HOME, ListTransport

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
LIST = "/api/entities?type=command_center"


@pytest.fixture
def transport() -> ListTransport:
    return ListTransport()


@pytest.fixture
def session(transport: ListTransport) -> Iterator[ReadSession]:
    session = open_session(transport)
    yield session
    session.close()


def open_session(transport: ListTransport, **settings: Any) -> ReadSession:
    config = OrgxConfig(api_key="oxk_12345678", **settings)
    client = OrgxClient(config, transport=transport, policy=RetryPolicy(attempts=1))
    return ReadSession(config, client, clock=lambda: NOW)


def row(name: str) -> dict[str, Any]:
    return {"id": name, "created_at": NOW.isoformat(), "updated_at": NOW.isoformat()}


@pytest.mark.parametrize(
    ("pages", "size", "seconds", "expected"),
    [(9, 99, 4.9, False), (10, 0, 0.0, True), (0, 100, 0.0, True), (0, 0, 5.0, True)],
)
def test_a_stretch_ends_with_its_pages_its_bytes_or_its_time(
    pages: int, size: int, seconds: float, *, expected: bool
) -> None:
    assert Stretch(pages=10, size=100, seconds=5.0).is_over(pages, size, seconds) is expected


def test_a_workspace_that_bootstrap_spells_in_its_own_way_is_listed_once(
    transport: ListTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.rows[LIST] = [row("home-a"), row("other")]
    monkeypatch.setattr(transport, "bootstrap", lambda: {"id": "HOME-A", "name": "Northwind"})
    session = open_session(transport, workspace_id="unknown")
    with pytest.raises(ConfigError, match="this key sees Northwind"):
        session.check_workspace()
    assert session.listed_workspaces() == {"home-a", "other"}
    session.close()


def test_without_a_stretch_all_is_read_at_once(session: ReadSession) -> None:
    assert not session.stretch_is_over(10**9, 10**12)
    session.stretch = Stretch(seconds=3600)
    session.begin_stretch()
    assert not session.stretch_is_over(1, 1)
    assert session.stretch_is_over(1200, 1)


def test_the_workspace_is_asked_for_once_and_so_is_its_refusal(transport: ListTransport, session: ReadSession) -> None:
    assert session.workspace() == session.workspace() == HOME
    assert session.client.budget.spent == 1
    refused = open_session(transport)
    asked: list[int] = []

    def refuse() -> dict[str, Any]:
        asked.append(1)
        raise AuthError("401", status=401, path="/bootstrap")

    transport.bootstrap = refuse
    for _ in range(2):
        with pytest.raises(AuthError):
            refused.workspace()
    assert asked == [1]
    refused.close()


def test_the_listed_workspaces_are_asked_for_once(transport: ListTransport, session: ReadSession) -> None:
    transport.rows[LIST] = [row("other")]
    assert session.listed_workspaces() == {HOME["id"], "other"}
    session.listed_workspaces()
    assert [name for name, _ in transport.asked] == [LIST]


def test_where_workspaces_are_not_listed_the_own_one_is_known(transport: ListTransport, session: ReadSession) -> None:
    assert session.listed_workspaces() == {HOME["id"]}
    broken = open_session(transport)
    transport.fail = lambda name, query: ServerError("500", status=500, path="/")
    assert broken.listed_workspaces() == {HOME["id"]}
    broken.close()


@pytest.mark.parametrize("status", [400, 403, 405, 410, 422, 451, 501])
def test_parents_of_artifacts_come_from_whatever_route_is_open(
    transport: ListTransport, session: ReadSession, status: int
) -> None:
    transport.closed_status = status
    transport.rows["/api/client/live/initiatives"] = [row("i")]
    transport.rows["/api/entities?type=workstream"] = [row("w")]
    transport.rows["/api/v1/work"] = [row("t")]
    transport.rows["/api/client/artifacts/by-entity"] = [row("a")]
    route = next(route for route in _routes("artifacts") if route.paging == "by_entity")
    found = [found["id"] for rows in session.open_route(TABLES["artifacts"], route).rows() for found in rows]
    assert found == ["a"]
    parents = {query.parent for name, query in transport.asked if name == route.name}
    assert parents == {("initiative", "i"), ("workstream", "w"), ("task", "t")}


def test_a_pinned_route_is_the_only_one_for_parents_too(transport: ListTransport) -> None:
    session = open_session(transport, routes={"initiatives": "/api/client/live/initiatives"})
    transport.rows["/api/entities?type=initiative"] = [row("wide")]
    transport.rows["/api/client/live/initiatives"] = [row("live")]
    transport.rows["/api/client/artifacts/by-entity"] = []
    list(session.open_route(TABLES["artifacts"], _routes("artifacts")[2]).rows())
    assert "/api/entities?type=initiative" not in [name for name, _ in transport.asked]
    session.close()


def _routes(table: str) -> Any:
    from orgx_source.api.routes import ROUTES

    return ROUTES[table]


def test_the_time_of_orgx_is_told_by_the_clock_that_is_behind(transport: ListTransport, session: ReadSession) -> None:
    assert session.orgx_time() == NOW
    transport.server_time = NOW - timedelta(hours=1)
    assert session.orgx_time() == NOW - timedelta(hours=1)
    transport.server_time = NOW + timedelta(hours=1)
    assert session.orgx_time() == NOW


def test_a_table_has_one_report_and_progress_is_told(session: ReadSession) -> None:
    assert session.report("tasks") is session.report("tasks")
    told: list[Any] = []
    session.note_progress("tasks", 1, 2)
    session.on_progress = lambda *progress: told.append(progress)
    session.note_progress("tasks", 3, 4)
    assert told == [("tasks", 3, 4)]


FOREIGN = "22222222-2222-4222-8222-222222222222"


def test_a_workspace_that_the_key_does_not_see_is_refused_with_those_that_it_sees(transport: ListTransport) -> None:
    transport.rows[LIST] = [row(HOME["id"]), row("other") | {"name": "Field"}]
    session = open_session(transport, workspace_id=FOREIGN)
    for _ in range(2):
        with pytest.raises(ConfigError) as refused:
            session.check_workspace()
    assert f"{FOREIGN} (--workspace" in str(refused.value)
    assert f"this key sees Northwind ({HOME['id']}), Field (other)" in str(refused.value)
    # The list would be that of the workspace otherwise.
    assert [query.workspace_id for _, query in transport.asked] == [None]
    session.close()


@pytest.mark.parametrize("wanted", [None, HOME["id"], HOME["id"].upper()])
def test_the_keys_own_workspace_needs_no_list(transport: ListTransport, wanted: str | None) -> None:
    session = open_session(transport, workspace_id=wanted)
    assert session.check_workspace() == HOME
    assert (session.workspace_doubt(), transport.asked) == (None, [])
    session.close()


def test_another_workspace_of_the_key_is_fine_in_capitals_too(transport: ListTransport) -> None:
    transport.rows[LIST] = [row(HOME["id"]), row("abc")]
    session = open_session(transport, workspace_id="ABC")
    assert session.check_workspace() == HOME
    assert session.workspace_doubt() is None
    session.close()


@pytest.mark.parametrize(
    ("listed", "total"),
    [
        # Closed; empty; without the key's own workspace; shorter than its total.
        (None, None),
        ([], None),
        (["other"], None),
        ([HOME["id"], "other"], 3),
    ],
)
def test_where_a_list_may_lack_workspaces_an_unknown_one_is_doubted(
    transport: ListTransport, listed: list[str] | None, total: int | None
) -> None:
    if listed is not None:
        transport.rows[LIST] = [row(name) for name in listed]
    answer = transport.fetch_page

    def count(route: Any, query: Any) -> Any:
        page = answer(route, query)
        return page if total is None else replace(page, total=total)

    transport.fetch_page = count
    session = open_session(transport, workspace_id=FOREIGN)
    assert session.check_workspace() == HOME
    assert FOREIGN in str(session.workspace_doubt())
    session.close()


def test_many_workspaces_are_not_all_named(transport: ListTransport) -> None:
    transport.rows[LIST] = [row(HOME["id"]), *(row(f"w{number:02}") for number in range(30))]
    session = open_session(transport, workspace_id=FOREIGN)
    with pytest.raises(ConfigError, match=r"w18 and 11 more"):
        session.check_workspace()
    session.close()
