"""The feed of activity: events that are written later than their own time says are found all the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from orgx_source.reading.report import TableReport
from orgx_source.sandbox import Fault, Sandbox, World
from orgx_source.sync import run_sync
from tests.running import differences, fast_client, pipeline

pytestmark = pytest.mark.usefixtures("each_warehouse")


def night(box: Sandbox) -> TableReport:
    client = fast_client(box)
    report = run_sync(client.config, pipeline(), tables=["activity"], client=client, clock=lambda: box.world.now)
    assert report.exit_code == 0, report.to_json()
    return report.tables["activity"]


def add_event(box: Sandbox, ago: timedelta) -> dict[str, Any]:
    stamp = (box.world.now - ago).isoformat().replace("+00:00", "Z")
    return box.world.insert("activity", id=f"late {ago}", type="run_started", title="late", timestamp=stamp)


def test_events_that_the_first_read_did_not_reach_are_read_within_a_week_once_the_list_has_them() -> None:
    with Sandbox(World("small"), faults=[Fault("clamp", 30, path="/api/client/live/activity")]) as box:
        first = night(box)
        assert (first.verdict, first.rows_new) == ("uncertified", 30)
        box.world.advance(hours=24)
        quiet = night(box)
        assert not quiet.whole
        box.heal()
        box.world.advance(hours=24)
        healed = night(box)
        assert not healed.whole
        assert "events older than those of the first read were not available" in healed.proof
        box.world.now += timedelta(days=7)
        full = night(box)
        assert (full.whole, full.verdict) == (True, "certified")
        assert differences(box.world, tables=["activity"]) == []
        box.world.now += timedelta(days=7)
        last = night(box)
        assert (last.whole, last.verdict, "not available" in last.proof) == (False, "certified", False)


def test_new_events_that_do_not_reach_back_to_the_known_ones_are_no_proof() -> None:
    feed = "/api/client/live/activity"
    with Sandbox(World("small")) as box:
        assert night(box).verdict == "certified"
        # From now on, a response has at most 30 events, and its total counts only these.
        box.inject(Fault("clamp", 30, path=feed), Fault("page_total", path=feed))
        box.world.advance(hours=24 * 30)
        cut = night(box)
        assert (cut.whole, cut.verdict) == (True, "uncertified")
        box.heal()
        box.world.now += timedelta(days=7)
        assert night(box).verdict == "certified"
        assert differences(box.world, tables=["activity"]) == []


def test_an_event_of_some_hours_ago_comes_with_the_next_night_and_an_older_one_within_a_week() -> None:
    with Sandbox(World("small")) as box:
        night(box)
        box.world.advance(hours=24)
        night(box)
        add_event(box, timedelta(hours=20))
        assert night(box).rows_new == 1
        assert differences(box.world, tables=["activity"]) == []
        add_event(box, timedelta(days=20))
        assert night(box).rows_new == 0
        box.world.now += timedelta(days=7)
        report = night(box)
        assert (report.rows_new, report.requests, report.whole) == (1, 1, False)
        assert differences(box.world, tables=["activity"]) == []
        assert night(box).rows_new == 0
