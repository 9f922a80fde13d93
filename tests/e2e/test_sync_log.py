"""What happened in each run stands in the warehouse, also when it failed; status reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from orgx_source.sandbox import Fault, Sandbox, World
from orgx_source.source import sync_log_source
from orgx_source.sync import one_run_at_a_time
from orgx_source.tables import SYNC_LOG_COLUMNS
from orgx_source.version import __version__
from tests.running import DATABASE, KINDS, pipeline, query, sync

pytestmark = pytest.mark.usefixtures("each_warehouse")


def test_one_row_per_table_and_run_that_says_what_the_report_says() -> None:
    with Sandbox(World("small")) as box:
        report = sync(box)
        names = [
            row[0] for row in query("select column_name from information_schema.columns where table_name = 'sync_log'")
        ]
        assert {column.name for column in SYNC_LOG_COLUMNS} <= set(names)
        found = query(
            "select table_name, run_id, verdict, requests, rows_read, rows_new, rows_in_warehouse, total_reported, "
            "pages, package_version, cursor_before is null, whole from orgx.sync_log"
        )
        assert len(found) == len(KINDS)
        for name, run_id, verdict, requests, read, new, held, total, pages, version, first, whole in found:
            table = report.tables[name]
            assert (run_id, version, first, whole) == (report.run_id, __version__, True, True)
            assert (verdict, requests, read, new) == (table.verdict, table.requests, table.rows_read, table.rows_new)
            assert (held, total, pages) == (table.rows_in_warehouse, table.total_reported, table.pages)
        assert sum(table.requests for table in report.tables.values()) + 1 == report.requests
        sync(box)
        assert query("select count(*), count(distinct run_id) from orgx.sync_log") == [(2 * len(KINDS), 2)]
        second = "select count(*) from orgx.sync_log where cursor_before = cursor_after and not whole and rows_new = 0"
        assert query(second + " and table_name = 'tasks'") == [(1,)]


def test_retries_and_waits_are_told_per_table() -> None:
    with Sandbox(World("small"), faults=[Fault("rate_limited", 3, entity="task", times=2)]) as box:
        sync(box)
        found = query("select table_name, retries, waited_seconds >= 3 from orgx.sync_log where retries > 0")
        assert found == [("tasks", 2, True)]


def test_a_run_that_fails_is_logged_with_its_reason() -> None:
    with Sandbox(World("small"), faults=[Fault("status", 500, entity="task")]) as box:
        assert sync(box, tables=["tasks", "agents"]).exit_code == 1
        found = dict(query("select table_name, error from orgx.sync_log"))
        assert found["agents"] is None
        assert "500" in found["tasks"]
        box.heal()
        box.inject(Fault("status", 401))
        assert sync(box, tables=["agents"]).exit_code == 3
        assert query("select status, error is not null from orgx.sync_log order by started_at desc limit 1") == [
            ("failed", True)
        ]


def test_status_tells_verdicts_and_the_last_runs_and_knows_units_of_time(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box:
        for _ in range(2):
            sync(box)
        place = ["--database", str(DATABASE)] if each_warehouse == "duckdb" else ["--destination", "postgres"]
        command = [sys.executable, "-m", "orgx_source.cli", "status", *place]

        def status(*options: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([*command, *options], capture_output=True, text=True, env=dict(os.environ))

        assert status("--max-age", "26h").returncode == 0
        assert status("--max-age", "0m").returncode == 4
        assert status("--max-age", "soon").returncode == 2
        found = json.loads(status("--json").stdout)
        assert found["tables"]["tasks"]["verdict"] == "certified"
        assert [run["status"] for run in found["runs"]] == ["ok", "ok"]
        assert found["runs"][1]["rows_new"] > found["runs"][0]["rows_new"] == 0
        assert "Last runs (UTC)" in status().stdout
        box.inject(Fault("closed", 403, path="/api/client/live/agents"))
        sync(box, ["agents"])
        assert "agents: no route is open" in status().stdout


def test_a_second_run_at_the_same_time_leaves_and_names_the_first() -> None:
    with Sandbox(World("small")) as box:
        with one_run_at_a_time(pipeline()):
            report = sync(box)
        assert report.exit_code == 4
        assert f"process {os.getpid()}" in str(report.error)
        assert box.requests == []
        assert sync(box).status == "ok"


def test_its_texts_are_stored_as_they_are() -> None:
    texts = ["", " ", "NULL", "\\N", '"', "'", "a\\", "a\nb", "%s", "Größe"]
    started = datetime(2026, 11, 20, tzinfo=UTC)
    rows = [{"run_id": str(n), "started_at": started, "error": text, "reasons": [text]} for n, text in enumerate(texts)]
    pipeline().run(sync_log_source(rows))
    found = query("select error, reasons from orgx.sync_log order by cast(run_id as integer)")
    assert [(error, json.loads(reasons)) for error, reasons in found] == [(text, [text]) for text in texts]
