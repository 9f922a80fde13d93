"""One warehouse under several keys and workspaces: whose rows are read, kept, told apart, and called deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page
from orgx_source.api.limits import RetryPolicy
from orgx_source.api.query import PageQuery
from orgx_source.api.routes import Route
from orgx_source.config import OrgxConfig
from orgx_source.reading.report import TableReport
from orgx_source.reading.session import ReadSession
from orgx_source.reading.table_reader import TableReader
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.tables import TABLES
from tests.unit.list_transport import HOME, ListTransport
from tests.unit.memory_warehouse import MemoryWarehouse

A, B = HOME["id"], "22222222-2222-4222-8222-222222222222"
ROUTES = {
    "tasks": "/api/entities?type=task",
    "agents": "/api/client/live/agents",
    "workspaces": "/api/entities?type=command_center",
}
MADE = datetime(2026, 11, 1, tzinfo=UTC)
# Neither is to be found in what a table remembers.
WIDE, NARROW = "oxk_wide_000001", "oxk_narrow_0001"


class Keyed(ListTransport):
    """Shows each key its rows, and keeps to the workspace that is asked for unless a test says otherwise.

    Attributes:
        home: The workspace that the key resolves to.
        hidden: Ids that the key does not see.
        obeys: Whether the workspace filter is obeyed; rows that name none belong to the key's own.
    """

    def __init__(self, rows: list[dict[str, Any]], name: str) -> None:
        super().__init__(**{name: rows})
        self.home, self.hidden, self.obeys = A, set[str](), True

    def bootstrap(self) -> dict[str, Any]:
        return {"id": self.home}

    def fetch_page(self, route: Route, query: PageQuery) -> Page:
        def comes(row: dict[str, Any]) -> bool:
            inside = not (query.workspace_id and self.obeys) or query.workspace_id == row.get("workspace_id", self.home)
            return inside and row["id"] not in self.hidden

        shown = ListTransport(**{name: [row for row in rows if comes(row)] for name, rows in self.rows.items()})
        shown.asked = self.asked
        return shown.fetch_page(route, query)


class Nights:
    """One table, night after night."""

    def __init__(self, count: int = 0, table: str = "tasks", **values: Any) -> None:
        self.table, self.state, self.warehouse = TABLES[table], dict[str, Any](), MemoryWarehouse()
        self.types = ColumnTypes(self.table)
        self.now = MADE + timedelta(days=1)
        self.loads = 0
        self.transport = Keyed([task(number, **values) for number in range(count)], ROUTES[table])

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.transport.rows[ROUTES[self.table.name]]

    def run(self, key: str = WIDE, **settings: Any) -> TableReport:
        config = OrgxConfig(api_key=key, **settings)
        client = OrgxClient(config, transport=self.transport, policy=RetryPolicy(attempts=1))
        session = ReadSession(config, client, clock=lambda: self.now)
        self.loads += 1
        try:
            reader = TableReader(session, self.table, self.warehouse, self.types)
            self.warehouse.write(list(reader.pieces(self.state, f"load-{self.loads}")), f"load-{self.loads}")
        finally:
            session.close()
            self.now += timedelta(hours=1)
        return session.report(self.table.name)

    def living(self) -> set[str]:
        return {row_id for row_id, row in self.warehouse.rows.items() if row.get("deleted_at") is None}


def task(number: int, **values: Any) -> dict[str, Any]:
    made = (MADE + timedelta(minutes=number)).isoformat()
    return {"id": f"{number:03}", "title": "a task", "created_at": made, "updated_at": made, **values}


def ids(*numbers: int) -> set[str]:
    return {f"{number:03}" for number in numbers}


# -- two keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{}, {"workspace_id": A}])
def test_rows_that_only_another_key_saw_stay_until_it_looks_again(values: dict[str, Any]) -> None:
    there = Nights(15, **values)
    there.run(WIDE)
    there.transport.hidden = ids(*range(1, 15))
    for _ in range(2):
        report = there.run(NARROW)
        assert (report.rows_deleted, report.rows_out_of_sight, report.exit_code) == (0, 14, 0)
        assert [reason for reason in report.reasons if reason.startswith("14 rows received only with another key")]
    there.transport.hidden = set()
    there.rows.pop(7)
    report = there.run(WIDE)
    assert (report.rows_deleted, report.rows_out_of_sight, len(there.living())) == (1, 0, 14)
    assert report.reasons == []


def test_rows_that_only_another_key_saw_explain_a_count() -> None:
    there = Nights(250)
    there.run(WIDE)
    there.transport.hidden = ids(*range(10))
    assert there.run(NARROW).whole
    report = there.run(NARROW)
    # Nothing is read in full for them again.
    assert (report.whole, report.pages, report.rows_out_of_sight) == (False, 1, 10)


def test_what_only_another_key_saw_goes_when_everything_is_asked_for() -> None:
    there = Nights(15)
    there.run(WIDE)
    there.transport.hidden = ids(3, 4)
    there.run(NARROW)
    assert there.run(NARROW, full=True).rows_deleted == 2
    assert there.run(NARROW).reasons == []


def test_a_key_finds_what_went_since_its_own_whole_read() -> None:
    there = Nights(15)
    there.run(WIDE)
    there.rows.pop(0)
    # It never came under this key: one ghost for a changed key, which is said.
    assert there.run(NARROW).rows_set_aside == 1
    there.rows.pop(0)
    report = there.run(NARROW)
    assert (report.rows_deleted, report.rows_set_aside, report.exit_code) == (1, 1, 0)


def test_two_keys_in_turn_each_find_what_went() -> None:
    there = Nights(15)
    for key in (WIDE, NARROW):
        there.run(key, full=True)
    there.rows.pop(5)
    assert [there.run(key).rows_deleted for key in (WIDE, NARROW, WIDE)] == [0, 1, 0]


def test_a_change_that_only_one_of_two_keys_sees_arrives_with_that_key() -> None:
    there = Nights(250)
    there.run(WIDE)
    there.transport.hidden = ids(3)
    assert there.run(NARROW).whole
    # More changes than a page holds follow the hidden one.
    for place, number in enumerate((3, *range(100, 240))):
        changed_at = there.now - timedelta(hours=1) + timedelta(minutes=place / 3)
        there.rows[number] |= {"title": "changed", "updated_at": changed_at.isoformat()}
    report = there.run(NARROW, sample=0)
    assert (report.whole, report.rows_changed) == (False, 140)
    there.transport.hidden = set()
    report = there.run(WIDE, sample=0)
    assert (report.verdict, there.warehouse.rows["003"]["title"]) == ("certified", "changed")
    assert not there.run(WIDE).whole


def test_no_key_is_remembered_but_by_its_digest() -> None:
    there = Nights(3)
    there.run(WIDE)
    there.rows.pop()
    there.run(NARROW)
    assert len(there.state["set_aside"]) == 1
    assert WIDE not in str(there.state)
    assert "oxk_" not in str(there.state)


def test_a_read_that_one_key_began_is_not_gone_on_with_by_another() -> None:
    there = Nights(950)
    with pytest.raises(Exception, match="requests"):
        there.run(WIDE, max_requests=5)
    there.warehouse.loads.add("load-1")
    assert "resume" in there.state
    report = there.run(NARROW)
    assert (report.resumed, len(there.living())) == (False, 950)


# -- a workspace filter ------------------------------------------------------------------------------------------------


def test_a_row_without_a_workspace_goes_when_it_came_through_the_same_filter() -> None:
    there = Nights(5)
    there.run(workspace_id=A)
    there.rows.pop(2)
    report = there.run(workspace_id=A)
    assert (report.rows_deleted, report.verdict, report.reasons) == (1, "certified", [])


def test_a_row_without_a_workspace_stays_when_it_never_came_through_the_filter() -> None:
    there = Nights(250)
    there.rows[4:] = [row | {"workspace_id": B} for row in there.rows[4:]]
    there.run()
    for _ in range(2):
        # Rows that name none are the first workspace's: the filter lets none of them pass.
        report = there.run(workspace_id=B, full=True)
        assert (report.rows_deleted, report.rows_set_aside, report.exit_code) == (0, 4, 0)
        assert "4 rows received only with another key or workspace" in report.reasons[0]
    assert there.run(workspace_id=B).whole is False
    there.rows.pop(0)
    assert there.run().rows_deleted == 1


def test_rows_without_a_workspace_stay_when_the_same_key_resolves_to_another_workspace() -> None:
    there = Nights(5)
    there.run()
    there.transport.home, rows = B, list(there.rows)
    there.rows[:] = [task(9)]
    for full in (False, True, False):
        report = there.run(full=full)
        assert (report.rows_deleted, report.rows_set_aside, report.exit_code) == (0, 5, 0)
    there.transport.home, there.rows[:] = A, rows[1:]
    report = there.run()
    assert (report.rows_deleted, report.rows_set_aside) == (1, 1)


@pytest.mark.parametrize("first", [{}, {"workspace_id": A}])
def test_a_filter_that_comes_or_goes_is_another_origin(first: dict[str, Any]) -> None:
    there = Nights(5)
    there.run(**first)
    assert there.run(**({} if first else {"workspace_id": A})).whole


def test_a_filter_that_orgx_ignores_is_said_and_its_counts_are_not_held_against_the_warehouse() -> None:
    there = Nights(250, workspace_id=A)
    there.rows[248:] = [row | {"workspace_id": B} for row in there.rows[248:]]
    there.transport.obeys = False
    report = there.run(workspace_id=A)
    assert (report.total_reported, report.verdict, report.exit_code) == (248, "certified", 0)
    assert there.living() == ids(*range(248))
    assert report.reasons == ["OrgX sent 2 rows of workspaces other than the requested one; they were skipped"]
    report = there.run(workspace_id=A)
    assert (report.whole, report.total_reported, report.exit_code) == (False, None, 0)
    assert len(report.reasons) == 1
    assert "only a full read can be compared" in report.reasons[0]
    there.rows.pop(0)
    assert there.run(workspace_id=A, full=True).rows_deleted == 1
    there.transport.obeys = True
    assert there.run(workspace_id=A, full=True).reasons == []
    report = there.run(workspace_id=A)
    assert (report.whole, report.total_reported, report.reasons) == (False, 247, [])


def test_a_filter_that_was_ignored_is_remembered_on_a_night_without_foreign_rows() -> None:
    there = Nights(250, workspace_id=A)
    there.rows[:20] = [row | {"workspace_id": B} for row in there.rows[:20]]
    there.transport.obeys = False
    assert there.run(workspace_id=A).total_reported == 230
    # The newest hundred are all of the workspace.
    report = there.run(workspace_id=A)
    assert (report.whole, report.pages, report.total_reported) == (False, 1, None)


def test_no_row_of_a_workspace_that_nobody_lists_is_no_proof() -> None:
    there = Nights(3)
    there.rows.clear()
    report = there.run(workspace_id=B)
    assert "OrgX does not list the workspaces of this key" in report.reasons[0]
    assert there.run(workspace_id=A).reasons == []


# -- agents of two workspaces ------------------------------------------------------------------------------------------


def agents(**tasks: str) -> list[dict[str, Any]]:
    return [{"id": f"{name}-agent", "name": name, "currentTask": task} for name, task in tasks.items()]


def test_agents_of_two_workspaces_that_share_slugs_are_kept_apart() -> None:
    there = Nights(table="agents")
    first, second = agents(eli="a", pace="a"), agents(eli="b", mark="b")
    there.rows[:] = first
    there.run(WIDE)
    for _ in range(2):
        there.rows[:], there.transport.home = second, B
        report = there.run(NARROW)
        assert (report.rows_deleted, report.rows_out_of_sight, report.exit_code) == (0, 2, 0)
        there.rows[:], there.transport.home = first, A
        assert there.run(WIDE).rows_changed == 0
    tasks = {row_id: row["current_task"] for row_id, row in there.warehouse.rows.items()}
    assert tasks == {"eli-agent": "a", "pace-agent": "a", f"{B}/eli-agent": "b", f"{B}/mark-agent": "b"}
    assert len(there.warehouse.history) == 4
    assert {row.get("workspace_id") for row in there.warehouse.rows.values()} == {None, B}
    # Each finds its own that are gone, asked for by the id that OrgX gives.
    there.rows[:], there.transport.home = second[:1], B
    assert there.run(NARROW).rows_deleted == 1
    assert there.living() == {"eli-agent", "pace-agent", f"{B}/eli-agent"}


def test_whoever_has_filled_the_table_so_far_keeps_its_ids() -> None:
    there = Nights(table="agents")
    there.transport.obeys = False
    there.rows[:] = agents(eli="a")
    there.run(workspace_id=B)
    # As earlier versions left it.
    for name in ("ids_home", "seen_by", "filtered"):
        there.state.pop(name)
    report = there.run(workspace_id=B)
    assert (report.rows_new, report.rows_changed, there.living()) == (0, 0, {"eli-agent"})
    there.run(workspace_id=A)
    assert there.living() == {"eli-agent", f"{A}/eli-agent"}


def test_workspaces_that_an_earlier_version_brought_stay_under_another_key() -> None:
    there = Nights(table="workspaces")
    there.rows[:] = [task(0) | {"id": A}, task(1) | {"id": "third"}]
    there.run(WIDE)
    there.state.pop("seen_by")
    there.rows[:], there.transport.home = [task(2) | {"id": B}], B
    for _ in range(2):
        assert (there.run(NARROW).rows_deleted, there.living()) == (0, {A, B, "third"})
