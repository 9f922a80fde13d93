"""What a sync costs in requests, and that a small allowance of them is enough."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.limits import RateBudget, RetryPolicy
from orgx_source.config import load_config
from orgx_source.sandbox import RateLimit, Sandbox, World
from orgx_source.sync import run_sync
from tests.running import KINDS, FakeTime, differences, pipeline, query, sync

pytestmark = pytest.mark.usefixtures("each_warehouse")


def test_a_quiet_night_is_one_request_per_table_and_writes_nothing() -> None:
    with Sandbox(World("medium")) as box:
        sync(box)
        rows = " union all ".join(f"select _dlt_load_id from orgx.{table}" for table in KINDS)
        by_load = f"select _dlt_load_id, count(*) from ({rows}) loads group by _dlt_load_id"
        loads = query(by_load)
        report = sync(box, sample=0)
        assert report.requests <= 1 + len(report.tables)
        # Three more look at old rows.
        assert sync(box).requests <= report.requests + 3
        assert {table.verdict for table in report.tables.values()} == {"certified"}
        assert sum(t.rows_new + t.rows_changed + t.rows_deleted for t in report.tables.values()) == 0
        assert query(by_load) == loads
        assert all(table.requests <= 1 for table in report.tables.values())


def test_one_deletion_among_many_is_found_the_same_night() -> None:
    with Sandbox(World("medium")) as box:
        sync(box)
        gone = list(box.world.find("artifact"))[450]
        box.world.delete("artifact", gone)
        report = sync(box, sample=0)
        assert report.status == "ok"
        assert query("select id from orgx.artifacts where deleted_at is not null") == [(gone,)]
        # One to see that the counts differ, a full read, and one to ask for the row itself.
        pages = math.ceil(box.world.count("artifact") / 90)
        assert report.tables["artifacts"].requests <= 1 + pages + 2
        assert all(table.requests <= 1 for name, table in report.tables.items() if name != "artifacts")


def test_a_changed_hundredth_costs_no_more_than_its_pages() -> None:
    with Sandbox(World("medium")) as box:
        sync(box)
        box.world.now += timedelta(hours=20)
        changed = {}
        for table, kind in (("tasks", "task"), ("artifacts", "artifact"), ("decisions", "decision")):
            ids = list(box.world.find(kind))[:: 100 if kind != "task" else 10]
            changed[table] = len(ids)
            for row_id in ids:
                # Each in a moment of its own: rows that share one cost more where they meet the edge of a page.
                box.world.now += timedelta(seconds=1)
                box.world.edit(kind, row_id, status="archived")
        # The sample is of other tables from day to day.
        report = sync(box, sample=0)
        for table, count in changed.items():
            assert report.tables[table].rows_changed == count
            assert report.tables[table].requests <= 1 + math.ceil(count / 90)
        assert differences(box.world, tables=list(changed)) == []


def test_a_first_sync_under_a_hundred_requests_an_hour_ends_over_several_runs() -> None:
    hours = FakeTime()
    with Sandbox(World("medium"), rate_limit=RateLimit(100, clock=hours.clock)) as box:
        config = load_config(api_key=box.api_key, base_url=box.url, page_size=60, workers=2, max_wait=900.0)

        def run() -> Any:
            budget = RateBudget(max_wait=config.max_wait, clock=hours.clock, sleep=hours.sleep)
            client = OrgxClient(config, budget=budget, policy=RetryPolicy(base_seconds=0.01))
            return run_sync(config, pipeline(), client=client)

        runs = [run()]
        while runs[-1].status != "ok":
            assert runs[-1].exit_code == 4, runs[-1].to_json()
            assert len(runs) < 12
            # The next night, on a machine that knows nothing.
            hours.sleep(3600)
            shutil.rmtree(Path("dlt"))
            runs.append(run())
        assert len(runs) >= 2
        assert differences(box.world) == []
        pages = Counter(
            (seen.params.get("type"), seen.params["offset"])
            for seen in box.requests
            if seen.status == 200 and seen.params.get("order_by") == "created_at"
        )
        tables = len({table for table, _ in pages})
        repeated = sum(count - 1 for count in pages.values())
        # At most one window of pages per table and run: the seam, and what had come but was not looked at.
        assert repeated <= (len(runs) - 1) * tables * (1 + 2 * config.workers)
