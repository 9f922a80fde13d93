"""A full read that is cut short goes on where it stopped; nothing is lost and little is read twice."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from orgx_source.reading import intake
from orgx_source.reading.session import Stretch
from orgx_source.sandbox import Fault, Sandbox, World
from orgx_source.sync import run_sync
from tests.running import differences, execute, fast_client, pipeline, query, sync

pytestmark = pytest.mark.usefixtures("each_warehouse")

TABLE = ["artifacts"]


def offsets(box: Sandbox) -> list[int]:
    return [int(seen.params["offset"]) for seen in box.requests if seen.params.get("order_by") == "created_at"]


def test_a_read_that_runs_out_of_requests_goes_on_on_another_machine() -> None:
    with Sandbox(World("medium")) as box:
        runs = 0
        while (report := sync(box, TABLE, page_size=10, sample=0, max_requests=30, workers=2)).status != "ok":
            runs += 1
            assert (report.exit_code, report.tables["artifacts"].rows_new > 150) == (4, True), report.to_json()
            # A new machine has only the destination.
            shutil.rmtree(Path("dlt"))
            assert runs < 10
        assert runs >= 3
        assert differences(box.world, tables=TABLE) == []
        assert report.tables["artifacts"].resumed
        repeated = sum(count - 1 for count in Counter(offsets(box)).values())
        assert repeated <= 2 * runs
        assert sync(box, TABLE, page_size=10, sample=0).tables["artifacts"].requests <= 2


def test_edits_inserts_and_deletions_between_the_runs_are_found() -> None:
    with Sandbox(World("medium")) as box:
        world = box.world
        assert sync(box, TABLE, page_size=10, sample=0, max_requests=40, workers=1).exit_code == 4
        ids = list(world.find("artifact"))
        world.now += timedelta(hours=1)
        for row_id in ids[20:40]:
            world.edit("artifact", row_id, name="edited behind")
        for row_id in ids[60:80]:
            world.delete("artifact", row_id)
        for row_id in ids[700:720]:
            world.delete("artifact", row_id)
        world.insert("artifact", name="new")
        report = sync(box, TABLE, page_size=10, sample=0)
        assert report.status == "ok", report.to_json()
        assert report.tables["artifacts"].resumed
        assert differences(world, tables=TABLE) == []


def test_edits_behind_the_place_of_resuming_are_found_without_a_difference_in_count() -> None:
    with Sandbox(World("medium")) as box:
        assert sync(box, TABLE, page_size=10, sample=0, max_requests=40, workers=1).exit_code == 4
        box.world.now += timedelta(hours=1)
        for row_id in list(box.world.find("artifact"))[20:60]:
            box.world.edit("artifact", row_id, name="edited behind")
        box.world.now += timedelta(hours=1)
        assert sync(box, TABLE, page_size=10, sample=0).status == "ok"
        assert differences(box.world, tables=TABLE) == []


def test_a_stamp_from_the_future_hides_no_later_change() -> None:
    with Sandbox(World("medium")) as box:
        ids = list(box.world.find("artifact"))
        box.world.edit("artifact", ids[0], touch=False, updated_at="2199-01-01T00:00:00.000Z")
        assert sync(box, TABLE).status == "ok"
        box.world.now += timedelta(hours=1)
        for row_id in ids[100:300]:
            box.world.edit("artifact", row_id, name="edited later")
        assert sync(box, TABLE).status == "ok"
        assert differences(box.world, tables=TABLE) == []


def test_a_deletion_before_the_place_of_resuming_costs_no_second_read() -> None:
    with Sandbox(World("medium")) as box:
        assert sync(box, TABLE).status == "ok"
        ids = list(box.world.find("artifact"))
        for row_id in ids[60:80] + ids[700:720]:
            box.world.delete("artifact", row_id)
        box.forget()
        first = sync(box, TABLE, page_size=10, sample=0, max_requests=50, workers=1, full=True)
        assert (first.exit_code, first.tables["artifacts"].rows_deleted) == (4, 0)
        second = sync(box, TABLE, page_size=10, sample=0, workers=1)
        assert second.tables["artifacts"].rows_deleted == 40
        assert differences(box.world, tables=TABLE) == []
        # The ids that the first run should have met were remembered: each page was read once, but for the overlap.
        assert sum(count - 1 for count in Counter(offsets(box)).values()) <= 2


def test_stretches_load_what_was_read_before_the_rest_is() -> None:
    with Sandbox(World("medium")) as box:
        client = fast_client(box, page_size=10, workers=2)
        box.inject(Fault("status", 500, entity="artifact", after=60))
        report = run_sync(client.config, pipeline(), tables=TABLE, client=client, stretch=Stretch(pages=15))
        assert report.exit_code == 1
        loads = query("select count(distinct _dlt_load_id) from orgx.artifacts")[0][0]
        assert loads >= 4
        box.heal()
        box.forget()
        again = sync(box, TABLE, page_size=10, sample=0)
        assert again.status == "ok", again.to_json()
        assert differences(box.world, tables=TABLE) == []
        assert min(offsets(box)) > 300


def test_long_rows_are_loaded_in_more_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "ROWS_AT_ONCE", 50)
    world = World("medium")
    with Sandbox(world) as box:
        for row_id in world.find("artifact"):
            world.edit("artifact", row_id, description="long " * 200)
        client = fast_client(box, page_size=10, workers=2)
        report = run_sync(client.config, pipeline(), tables=TABLE, client=client, stretch=Stretch(size=300_000))
        assert report.exit_code == 0
        assert query("select count(distinct _dlt_load_id) from orgx.artifacts")[0][0] >= 3
        assert differences(world, tables=TABLE) == []


def test_a_position_counts_only_where_its_rows_arrived() -> None:
    with Sandbox(World("medium")) as box:
        assert sync(box, TABLE, page_size=10, sample=0, max_requests=40).exit_code == 4
        execute("drop schema orgx cascade")
        assert sync(box, TABLE, page_size=10, sample=0).status == "ok"
        assert differences(box.world, tables=TABLE) == []


def test_full_begins_anew_unless_it_was_full_that_was_cut_short() -> None:
    with Sandbox(World("medium")) as box:
        assert sync(box, TABLE, page_size=10, sample=0, max_requests=40).exit_code == 4
        assert sync(box, TABLE, page_size=10, sample=0, max_requests=40, full=True).tables["artifacts"].resumed is False
        assert sync(box, TABLE, page_size=10, sample=0, full=True).tables["artifacts"].resumed is True
        assert differences(box.world, tables=TABLE) == []


def test_a_block_of_one_time_that_is_longer_than_a_run_is_passed_and_said_to_be_unproven() -> None:
    with Sandbox(World("medium")) as box:
        for row_id in list(box.world.find("artifact"))[100:700]:
            box.world.edit("artifact", row_id, touch=False, created_at="2026-04-12T08:00:00.000Z")
        runs = 1
        while (report := sync(box, TABLE, page_size=10, sample=0, max_requests=25, workers=2)).status != "ok":
            runs += 1
            assert runs < 9, report.to_json()
        table = report.tables["artifacts"]
        assert runs >= 5
        assert differences(box.world, tables=TABLE) == []
        assert (table.verdict, table.rows_in_warehouse) == ("uncertified", table.total_reported)
        assert table.reasons == ["many rows share one time or have none, and the list was read in more than one run"]
        repeated = sum(count - 1 for count in Counter(offsets(box)).values())
        assert repeated <= 3 * runs
        # One read in one piece proves it: two passes that agree.
        assert sync(box, TABLE, full=True).tables["artifacts"].verdict == "certified"
