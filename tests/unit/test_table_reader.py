"""One table over several runs: what each asks, what it writes, and what the next one knows."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.limits import RetryPolicy
from orgx_source.api.listing import Order
from orgx_source.config import OrgxConfig
from orgx_source.errors import BudgetError, RouteClosedError
from orgx_source.reading.report import TableReport
from orgx_source.reading.session import ReadSession, Stretch
from orgx_source.reading.table_reader import TableReader
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.tables import TABLES
from tests.unit.list_transport import HOME, ListTransport
from tests.unit.memory_warehouse import MemoryWarehouse

TASKS = "/api/entities?type=task"
WORK = "/api/v1/work"
START = datetime(2026, 11, 1, tzinfo=UTC)


class Organisation:
    """A list of tasks, the warehouse that follows it, and a clock.

    Attributes:
        transport: Where it is read.
        warehouse: What was written.
        state: What the table remembers.
        now: The time.
    """

    def __init__(self, count: int) -> None:
        self.now = START + timedelta(days=1)
        self.transport = ListTransport(**{TASKS: [self.row(number) for number in range(count)]})
        self.warehouse = MemoryWarehouse()
        self.state: dict[str, Any] = {}
        self.loads = 0

    @staticmethod
    def row(number: int, **values: Any) -> dict[str, Any]:
        made = (START + timedelta(minutes=number)).isoformat()
        return {"id": f"{number:05}", "title": "a task", "created_at": made, "updated_at": made, **values}

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.transport.rows[TASKS]

    def edit(self, number: int, **values: Any) -> None:
        self.rows[number] |= {"updated_at": self.now.isoformat(), **values}

    def living(self) -> set[str]:
        return {row_id for row_id, row in self.warehouse.rows.items() if row.get("deleted_at") is None}

    def living_titles(self) -> dict[str, int]:
        return dict(Counter(self.warehouse.rows[row_id]["title"] for row_id in self.living()))

    @contextmanager
    def session(self, stretch: Stretch | None = None, **settings: Any) -> Iterator[ReadSession]:
        config = OrgxConfig(api_key="oxk_12345678", **settings)
        client = OrgxClient(config, transport=self.transport, policy=RetryPolicy(attempts=1))
        session = ReadSession(config, client, clock=lambda: self.now, stretch=stretch)
        try:
            yield session
        finally:
            session.close()

    def run(self, stretch: Stretch | None = None, **settings: Any) -> TableReport:
        """Read the table to its end, in as many loads as that takes; an hour passes."""
        self.transport.asked.clear()
        with self.session(stretch, **settings) as session:
            reader = TableReader(session, TABLES["tasks"], self.warehouse, ColumnTypes(TABLES["tasks"]))
            try:
                while not reader.finished:
                    self.loads += 1
                    load_id = f"load-{self.loads}"
                    state = dict(self.state)
                    pieces: list[Any] = []
                    try:
                        for piece in reader.pieces(state, load_id):
                            pieces.append(piece)
                    finally:
                        self.warehouse.write(pieces, load_id)
                        self.state = state
            finally:
                self.now += timedelta(hours=1)
            return session.report("tasks")


def test_a_first_read_brings_every_row_and_its_version() -> None:
    there = Organisation(250)
    report = there.run()
    assert there.living() == {row["id"] for row in there.rows}
    assert len(there.warehouse.history) == 250
    assert (report.verdict, report.whole, report.route, report.total_reported) == ("certified", True, TASKS, 250)
    assert (report.rows_read, report.rows_new, report.rows_changed, report.rows_deleted) == (250, 250, 0, 0)
    assert (report.requests, report.pages, report.exit_code) == (3, 3, 0)
    assert report.cursor_after == there.rows[-1]["updated_at"]


def test_a_quiet_night_is_one_request_and_writes_nothing() -> None:
    there = Organisation(250)
    there.run()
    report = there.run()
    assert [query.order for _, query in there.transport.asked] == [Order.UPDATED]
    assert (report.verdict, report.whole, report.rows_new + report.rows_changed) == ("certified", False, 0)
    assert len(there.warehouse.history) == 250


def test_what_changed_is_read_and_the_cursor_follows() -> None:
    there = Organisation(250)
    there.run()
    there.edit(3, title="another")
    report = there.run()
    assert (report.rows_changed, there.warehouse.rows["00003"]["title"]) == (1, "another")
    assert report.cursor_after == there.rows[3]["updated_at"]


def test_the_cursor_never_passes_the_start_of_the_read() -> None:
    there = Organisation(5)
    there.edit(0, updated_at=(there.now + timedelta(days=30)).isoformat())
    began = there.now
    assert there.run().cursor_after == began.isoformat()


def test_a_deleted_row_is_found_by_the_count_and_asked_for() -> None:
    there = Organisation(250)
    there.run()
    gone = there.rows.pop(7)
    report = there.run()
    assert (report.rows_deleted, report.whole, report.verdict) == (1, True, "certified")
    assert gone["id"] not in there.living()
    assert gone["id"] in there.transport.asked[-1][1].ids
    assert there.run().requests == 1


def test_much_that_vanishes_at_once_is_believed_when_the_next_read_agrees() -> None:
    there = Organisation(60)
    there.run()
    del there.rows[10:]
    doubtful = there.run()
    assert doubtful.rows_deleted == 0
    assert "50 of 60 rows disappeared at once" in doubtful.reasons[0]
    assert len(there.living()) == 60
    assert there.run().rows_deleted == 50


def test_rows_that_orgx_still_has_are_not_marked() -> None:
    there = Organisation(30)
    there.run()
    hidden = there.rows.pop(4)

    def fail(name: str, query: Any) -> None:
        if query.ids:
            there.rows.append(hidden)

    there.transport.fail = fail
    assert there.run().rows_deleted == 0
    assert hidden["id"] in there.living()


def test_a_table_is_read_whole_after_seven_days() -> None:
    there = Organisation(5)
    there.run()
    there.now += timedelta(days=8)
    assert there.run().whole


def test_a_closed_route_leads_to_the_next_and_wipes_nothing() -> None:
    there = Organisation(5)
    there.edit(0, description="long")
    there.run()
    there.transport.rows[WORK] = [{"id": row["id"], "title": "short"} for row in there.transport.rows.pop(TASKS)]
    report = there.run()
    assert (report.route, report.closed_routes, report.verdict) == (WORK, [f"{TASKS} (403)"], "uncertified")
    assert (there.warehouse.rows["00000"]["title"], there.warehouse.rows["00000"]["description"]) == ("short", "long")


def test_when_no_route_is_open_none_is_named_as_used() -> None:
    there = Organisation(5)
    there.transport.rows.clear()
    with there.session() as session:
        reader = TableReader(session, TABLES["tasks"], there.warehouse, ColumnTypes(TABLES["tasks"]))
        with pytest.raises(RouteClosedError):
            list(reader.pieces({}, "load"))
        assert reader.finished
        assert session.report("tasks").route is None
        assert len(session.report("tasks").closed_routes) == 2


def test_a_long_read_is_loaded_in_stretches() -> None:
    there = Organisation(950)
    report = there.run(Stretch(pages=3))
    assert there.loads == 4
    assert len(there.living()) == 950
    assert (report.pages, report.verdict) == (11, "certified")
    assert "resume" not in there.state


def test_a_read_that_is_cut_short_goes_on_where_it_stopped() -> None:
    there = Organisation(950)
    with pytest.raises(BudgetError):
        there.run(max_requests=5)
    assert 300 < len(there.living()) < 950
    behind = range(150)
    since = (there.now - timedelta(minutes=30)).isoformat()
    for number in behind:
        there.edit(number, title="changed behind its back", updated_at=since)
    report = there.run()
    assert (report.resumed, report.whole) == (True, False)
    assert min(query.offset or 0 for _, query in there.transport.asked if query.order is Order.CREATED) > 300
    assert there.living() == {row["id"] for row in there.rows}
    # More than a page of them: those on the first page of changes come whatever is asked for.
    assert {there.warehouse.rows[f"{number:05}"]["title"] for number in behind} == {"changed behind its back"}


def test_rows_that_a_read_missed_before_it_was_cut_short_are_marked_when_it_goes_on() -> None:
    there = Organisation(950)
    there.run()
    gone = there.rows.pop(2)
    with pytest.raises(BudgetError):
        there.run(max_requests=5, full=True)
    assert gone["id"] in there.living()
    report = there.run(full=True)
    # Remembered, not found again by a full read.
    assert (report.resumed, report.whole, report.rows_deleted) == (True, False, 1)
    assert gone["id"] not in there.living()


@pytest.mark.parametrize(
    ("unfinished", "reasons"),
    [(True, []), (False, ["250 versions were missing from the history and were written again"])],
)
def test_history_gets_what_a_lost_load_left_out_without_a_full_read(reasons: list[str], *, unfinished: bool) -> None:
    # More than a page of changes brings: those come again anyway.
    there = Organisation(250)
    there.run()
    there.warehouse.history.clear()
    there.warehouse.in_doubt, there.warehouse.unfinished = {}, unfinished
    report = there.run()
    assert sorted(version["id"] for version in there.warehouse.history) == [row["id"] for row in there.rows]
    assert (report.whole, report.reasons) == (False, reasons)


def test_rows_that_went_on_either_side_of_the_place_are_found_when_a_read_goes_on() -> None:
    there = Organisation(950)
    there.run()
    with pytest.raises(BudgetError):
        there.run(max_requests=5, full=True)
    for row in (there.rows[900], there.rows[2]):
        there.rows.remove(row)
    report = there.run(full=True)
    assert report.resumed
    assert report.rows_deleted == 2
    assert there.living() == {row["id"] for row in there.rows}


def test_what_is_remembered_of_a_load_that_did_not_arrive_is_not_believed() -> None:
    there = Organisation(5)
    there.run()
    there.warehouse.loads.clear()
    assert there.run().whole


def test_rows_of_workspaces_that_the_key_does_not_see_stay() -> None:
    there = Organisation(30)
    for number, row in enumerate(there.rows):
        row["workspace_id"] = HOME["id"] if number else "foreign"
    there.run()
    there.rows.pop(0)
    report = there.run()
    assert (report.rows_deleted, report.rows_out_of_sight) == (0, 1)
    assert len(there.living()) == 30
    assert "rows of workspaces not visible to this run" in report.reasons[-1]


@pytest.mark.parametrize(("count", "settings", "whole"), [(5, {}, False), (5, {"full": True}, True)])
def test_a_plan_says_how_a_run_would_begin(count: int, settings: Any, *, whole: bool) -> None:
    there = Organisation(count)
    there.run()
    with there.session(**settings) as session:
        reader = TableReader(session, TABLES["tasks"], there.warehouse, ColumnTypes(TABLES["tasks"]))
        route = session.open_route(TABLES["tasks"], _route()).route
        beginning = reader.plan(there.state, route)
        assert (beginning.watermark is None) is whole
        assert reader.living == count


def test_a_plan_goes_on_where_a_read_was_cut_short() -> None:
    there = Organisation(950)
    with pytest.raises(BudgetError):
        there.run(max_requests=5)
    with there.session() as session:
        reader = TableReader(session, TABLES["tasks"], there.warehouse, ColumnTypes(TABLES["tasks"]))
        beginning = reader.plan(there.state, _route())
        assert beginning.offset > 300
        assert beginning.because == "the last full read was interrupted"


def _route() -> Any:
    from orgx_source.api.routes import ROUTES

    return ROUTES["tasks"][0]


@pytest.mark.parametrize("stretch", [Stretch(), None], ids=["in-stretches", "in-one-load"])
def test_a_row_that_came_and_went_during_one_run_is_not_left_behind(stretch: Stretch | None) -> None:
    there = Organisation(250)
    there.run(stretch)
    there.rows.pop(7)
    there.rows.append({**there.row(999), "updated_at": there.now.isoformat()})

    def fail(name: str, query: Any) -> None:
        if query.order is Order.CREATED:
            there.rows[:] = [row for row in there.rows if row["id"] != "00999"]

    there.transport.fail = fail
    report = there.run(stretch)
    if stretch is None:
        # Its values are not in the warehouse yet, from where a deletion takes them.
        assert (report.verdict, there.living() - {row["id"] for row in there.rows}) == ("uncertified", {"00999"})
        assert "they changed more recently than any row received" in there.run(stretch).reasons[0]
        assert there.run(stretch).rows_deleted == 1
    assert there.living() == {row["id"] for row in there.rows}
    assert [row["id"] for row in there.warehouse.history if row.get("deleted_at")] == ["00007", "00999"]


def test_a_load_brings_each_row_once_and_a_newer_version_comes_with_the_next() -> None:
    there = Organisation(250)
    there.run(Stretch())
    there.edit(3, title="first")

    def fail(name: str, query: Any) -> None:
        if query.order is Order.CREATED and (query.offset or 0) > 0:
            there.edit(3, title="second")

    there.transport.fail = fail
    there.rows.pop(200)
    there.run(Stretch())
    there.transport.fail = lambda name, query: None
    there.run(Stretch())
    versions = [(row["title"], row["_dlt_load_id"]) for row in there.warehouse.history if row["id"] == "00003"]
    assert [title for title, _ in versions] == ["a task", "first", "second"]
    assert len({load_id for _, load_id in versions}) == 3
    assert there.warehouse.rows["00003"]["title"] == "second"


def test_an_empty_list_after_a_good_night_is_a_doubt_of_its_own() -> None:
    there = Organisation(60)
    there.run()
    rows = list(there.rows)
    for listed in ([], rows, [], rows, []):
        there.rows[:] = listed
        report = there.run()
        assert (report.rows_deleted, report.verdict) == (0, "certified" if listed else "uncertified")
    assert there.run().rows_deleted == 0
    assert there.run().rows_deleted == 60


def test_a_loss_that_grows_is_not_believed_because_a_part_of_it_was() -> None:
    there = Organisation(100)
    there.run()
    del there.rows[:40]
    rows = list(there.rows)
    assert there.run().rows_deleted == 0
    there.rows.clear()
    assert there.run().rows_deleted == 0
    there.rows[:] = rows
    assert there.run().rows_deleted == 0
    assert there.run().rows_deleted == 40


def test_an_older_copy_than_the_stored_one_is_asked_for_again_and_never_written_at_once() -> None:
    there = Organisation(30)
    there.run()
    there.edit(3, title="new")
    there.run()
    newer = dict(there.rows[3])
    there.rows[3] = there.row(3)
    report = there.run(full=True)
    assert (report.verdict, report.exit_code) == ("uncertified", 4)
    assert "1 rows were received in a version older than the stored one" in report.reasons[0]
    assert there.warehouse.rows["00003"]["title"] == "new"
    there.rows[3] = newer
    assert there.run(full=True).verdict == "certified"
    assert [row["title"] for row in there.warehouse.history if row["id"] == "00003"] == ["a task", "new"]


def test_an_older_copy_is_believed_when_a_later_run_sees_it_still() -> None:
    there = Organisation(30)
    there.run()
    there.edit(3, title="new")
    there.run()
    there.rows[3] = there.row(3)
    there.run(full=True)
    report = there.run(full=True)
    assert (report.verdict, report.rows_changed) == ("repaired", 1)
    assert there.warehouse.rows["00003"]["title"] == "a task"
    assert there.run(full=True).verdict == "certified"


def test_many_older_copies_are_believed_together_when_a_later_run_sees_them_still() -> None:
    there = Organisation(30)
    there.run()
    for number in range(20):
        there.edit(number, title="new")
    there.run()
    with mock.patch("orgx_source.reading.table_state.MAX_OLDER", 5):
        for number in range(10):
            there.rows[number] = there.row(number)
        assert there.run(full=True).exit_code == 4
        assert there.living_titles() == {"new": 20, "a task": 10}
        # Now more than twice as many: those that no earlier run saw wait for the next one.
        for number in range(10, 20):
            there.rows[number] = there.row(number)
        assert there.run(full=True).exit_code == 4
        assert there.run(full=True).verdict == "repaired"
    assert there.living_titles() == {"a task": 30}
    assert there.run(full=True).verdict == "certified"


def test_a_page_that_was_cached_is_mended_by_asking_for_its_rows_alone() -> None:
    there = Organisation(30)
    there.run()
    cached = dict(there.rows[3])
    there.edit(3, title="new")
    there.run()
    fresh = dict(there.rows[3])

    def fail(name: str, query: Any) -> None:
        there.rows[3] = fresh if query.ids else cached

    there.transport.fail = fail
    report = there.run(full=True)
    assert (report.verdict, report.rows_changed) == ("repaired", 0)
    assert there.warehouse.rows["00003"]["title"] == "new"


def test_a_replica_that_is_behind_deletes_nothing_and_moves_no_cursor_past_what_it_lacks() -> None:
    there = Organisation(30)
    there.run()
    behind = [dict(row) for row in there.rows]
    there.edit(4, title="edited")
    there.rows.append({**there.row(77), "updated_at": there.now.isoformat()})
    there.run()
    rows = list(there.rows)
    there.rows[:] = behind
    report = there.run(full=True)
    assert (report.rows_deleted, report.rows_changed, report.verdict) == (0, 0, "uncertified")
    there.rows[:] = rows
    there.edit(5, title="edited meanwhile")
    assert there.run().verdict == "certified"
    assert {row["id"]: row["title"] for row in there.rows} == {
        row_id: there.warehouse.rows[row_id]["title"] for row_id in there.living()
    }


def test_a_deleted_row_on_an_old_page_does_not_come_to_life() -> None:
    there = Organisation(30)
    there.run()
    gone = there.rows.pop(4)
    there.run()

    def fail(name: str, query: Any) -> None:
        there.rows[:] = [row for row in there.rows if row is not gone]
        if not query.ids:
            there.rows.insert(4, gone)

    there.transport.fail = fail
    there.run(full=True)
    assert gone["id"] not in there.living()
    there.transport.fail = lambda name, query: None
    assert gone in there.rows or there.rows.insert(4, gone) is None
    there.run(full=True)
    assert gone["id"] in there.living()


def test_a_server_that_ignores_the_order_is_read_whole_each_night() -> None:
    there = Organisation(250)
    there.transport.ignores_order = True
    there.run()
    for number in (3, 120, 240):
        there.edit(number, title="another")
        report = there.run()
        assert (report.whole, report.rows_changed) == (True, 1)
    there.transport.ignores_order = False
    assert there.run().whole
    assert not there.run().whole


def test_rows_that_should_have_come_and_did_not_lead_to_a_whole_read() -> None:
    there = Organisation(250)
    there.run()
    there.edit(3, title="edited")
    there.run()
    there.transport.ignores_order = True
    there.edit(5, title="edited later")
    report = there.run()
    assert (report.whole, there.warehouse.rows["00005"]["title"]) == (True, "edited later")


def test_without_a_count_a_night_says_that_it_proves_less_and_deletions_are_believed_the_second_time() -> None:
    there = Organisation(250)
    there.transport.totals = False
    there.run()
    gone = there.rows.pop(7)["id"]
    report = there.run()
    assert (report.verdict, report.exit_code, report.whole) == ("uncertified", 0, False)
    assert report.reasons == ["OrgX reports no total: deletions are found by the next full read"]
    there.now += timedelta(days=8)
    assert there.run().rows_deleted == 0
    assert gone in there.living()
    assert there.run().rows_deleted == 1


def test_a_sample_of_old_rows_finds_what_changed_without_a_trace() -> None:
    there = Organisation(250)
    there.run()
    for row in there.rows[:150]:
        row["title"] = "changed without a new time"
    assert not there.run().whole
    there.now += timedelta(days=1)
    with mock.patch("random.random", return_value=0.5):
        report = there.run()
        there.now += timedelta(days=2)
        assert there.run().proof == (
            "all changes since the last run were read; the row counts of OrgX and the warehouse are equal; "
            "100 old rows were compared"
        )
    assert (report.whole, report.rows_changed, report.verdict) == (True, 150, "repaired")
    assert report.reasons == ["75 old rows changed without a new timestamp; the table was read in full"]


def test_old_rows_that_come_along_with_the_changes_tell_as_much() -> None:
    there = Organisation(250)
    there.run()
    for row in there.rows:
        row["title"] = "changed without a new time"
    report = there.run()
    assert (report.whole, report.rows_changed) == (True, 250)


def test_no_sample_is_taken_where_that_is_the_wish() -> None:
    there = Organisation(250)
    there.run()
    there.now += timedelta(days=1)
    assert there.run(sample=0).requests == 1


def test_a_whole_read_is_not_put_off_by_a_clock_that_was_wrong_once() -> None:
    there = Organisation(5)
    there.now += timedelta(days=30_000)
    there.run()
    there.now = START + timedelta(days=2)
    there.run()
    there.now += timedelta(days=8)
    assert there.run().whole


def test_more_changes_than_a_budget_allows_are_read_as_a_whole_in_parts() -> None:
    there = Organisation(950)
    there.run()
    for number in range(950):
        there.edit(number, title="changed")
    for _ in range(10):
        with contextlib.suppress(BudgetError):
            there.run(max_requests=4)
            break
    assert {there.warehouse.rows[row["id"]]["title"] for row in there.rows} == {"changed"}
