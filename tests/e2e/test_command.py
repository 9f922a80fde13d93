"""The command as a user meets it: exit codes, what stands on stdout and what on stderr."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from filelock import FileLock

from orgx_source.cli.console import RunProgress
from orgx_source.commands.status import read_file_status, read_status
from orgx_source.sandbox import Fault, RateLimit, Sandbox, World
from orgx_source.sync import make_pipeline
from orgx_source.warehouse.pipeline import file_folder
from tests.running import KINDS, differences, query


def orgx_sync(*arguments: str, box: Sandbox | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {"ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url} if box else {}
    return subprocess.run(
        [sys.executable, "-m", "orgx_source.cli", *arguments],
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def imported(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Return the packages that a command imported, when it was told to time them.

    An import that was refused is listed too, but never what lies inside the package.
    """
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert lines, done.stderr
    names = {line.rpartition("|")[2].strip() for line in lines}
    return {name.partition(".")[0] for name in names if "." in name}


def test_a_run_into_duckdb_spends_no_time_on_packages_that_it_does_not_use() -> None:
    with Sandbox(World("small")) as box:
        done = orgx_sync("run", "--database", "x.duckdb", box=box, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    assert "pyarrow" in imported(done)
    assert not imported(done) & {"numpy", "pandas"}


def test_help_and_status_need_no_dlt() -> None:
    with Sandbox(World("small")) as box:
        assert orgx_sync("run", "--quiet", box=box).returncode == 0
    shown = orgx_sync("--help", PYTHONPROFILEIMPORTTIME="1")
    assert shown.stdout.startswith("Usage: orgx-sync [OPTIONS] COMMAND")
    assert not imported(shown) & {"dlt", "duckdb", "pyarrow", "httpx", "starlette", "uvicorn", "rich"}
    shown = orgx_sync("status", PYTHONPROFILEIMPORTTIME="1")
    assert "initiatives" in shown.stdout
    assert not imported(shown) & {"dlt", "pyarrow", "httpx", "starlette", "uvicorn"}


def test_run_json_prints_one_object_and_nothing_else_on_stdout() -> None:
    with Sandbox(World("medium")) as box:
        done = orgx_sync("run", "--database", "x.duckdb", "--json", box=box)
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert {"run_id", "status", "started_at", "finished_at", "requests", "tables"} <= report.keys()
        assert report["tables"].keys() == KINDS.keys()
        assert {
            "route", "requests", "rows_read", "rows_new", "rows_changed", "rows_deleted", "rows_in_warehouse",
            "total_reported", "verdict", "error",
        } <= report["tables"]["tasks"].keys()  # fmt: skip
        assert report["requests"] == len(box.requests)
        assert differences(box.world) == []


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("", "No OrgX API key. Set SOURCES__ORGX__API_KEY"),
        ("sk-not-orgx", "is malformed"),
        ("oxk-service-key-1234567890", "is a service key"),
        ("oxk_wrong_wrong_wrong", "the key was refused. Check SOURCES__ORGX__API_KEY"),
    ],
)
def test_a_missing_malformed_or_refused_key_is_exit_3_and_one_sentence(key: str, sentence: str) -> None:
    with Sandbox(World("small")) as box:
        done = orgx_sync("run", ORGX_API_KEY=key, ORGX_BASE_URL=box.url)
        assert done.returncode == 3
        assert sentence in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert not key or key not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://example.com", "Plain http to example.com"),
        ("https://me:secret@example.com", "must not contain credentials"),
        ("ftp://example.com", "must look like https://useorgx.com"),
    ],
)
def test_an_address_where_the_key_must_not_go_is_exit_3(url: str, sentence: str) -> None:
    done = orgx_sync("run", ORGX_API_KEY="oxk_whatever_1234", ORGX_BASE_URL=url)
    assert done.returncode == 3
    assert sentence in done.stderr
    assert "secret" not in done.stderr


def test_an_unreachable_host_is_exit_4_with_the_host() -> None:
    done = orgx_sync("run", "--max-wait", "0", ORGX_API_KEY="oxk_whatever_1234", ORGX_BASE_URL="http://127.0.0.1:1")
    assert done.returncode == 4
    assert "127.0.0.1:1 could not be reached" in done.stdout


def test_an_unknown_table_is_exit_2_with_the_names_that_exist() -> None:
    done = orgx_sync("run", "--table", "task")
    assert done.returncode == 2
    assert all(table in done.stderr for table in KINDS)


def test_an_unknown_destination_is_one_sentence() -> None:
    done = orgx_sync("run", "--destination", "nowhere", ORGX_API_KEY="oxk_whatever_1234")
    assert done.returncode == 3
    assert "dlt has no destination 'nowhere'" in done.stderr and "duckdb" in done.stderr
    assert "Traceback" not in done.stderr


def test_max_requests_ends_cleanly_and_the_next_run_completes() -> None:
    with Sandbox(World("medium")) as box:
        done = orgx_sync("run", "--database", "x.duckdb", "--max-requests", "20", box=box)
        assert done.returncode == 4
        assert "--max-requests" in done.stdout
        assert len(box.requests) == 20
        assert orgx_sync("run", "--database", "x.duckdb", "--quiet", box=box).returncode == 0
        assert differences(box.world) == []


def test_a_rate_limit_beyond_max_wait_is_exit_4() -> None:
    with Sandbox(World("small"), rate_limit=RateLimit(5)) as box:
        done = orgx_sync("run", "--max-wait", "1", box=box)
        assert done.returncode == 4
        assert "--max-wait" in done.stdout
        assert len(box.requests) < 20


def test_check_says_route_rows_order_and_budget_and_leaves_nothing_behind() -> None:
    faults = [Fault("closed", 403, path="/api/entities", entity="decision")]
    with Sandbox(World("small"), faults=faults, rate_limit=RateLimit(100)) as box:
        done = orgx_sync("check", box=box)
        assert done.returncode == 0, done.stderr
        assert "/api/v1/decisions" in done.stdout
        assert "decisions: closed to this key: /api/entities?type=decision (403)" in done.stdout
        assert f"rate limit: {98 - len(KINDS)} of 100 requests left" in done.stdout
        assert "writable" in done.stdout
        assert not Path("orgx.duckdb").exists()
        assert len(box.requests) == len(KINDS) + 2


def test_check_says_when_order_and_total_cannot_be_relied_on() -> None:
    faults = [
        Fault("ignore_order", entity="task"),
        Fault("page_total", entity="milestone"),
        Fault("no_total", entity="artifact"),
    ]
    with Sandbox(World("small"), faults=faults) as box:
        found = json.loads(orgx_sync("check", "--json", box=box).stdout)["tables"]
        assert (found["tasks"]["order"], found["tasks"]["total"]) == ("ignored", "given")
        assert (found["milestones"]["order"], found["milestones"]["total"]) == ("proven", "doubtful")
        assert (found["artifacts"]["order"], found["artifacts"]["total"]) == ("proven", "missing")


def test_check_with_a_bad_key_is_exit_3() -> None:
    with Sandbox(World("small")) as box:
        assert orgx_sync("check", ORGX_API_KEY="oxk_wrong_wrong_wrong", ORGX_BASE_URL=box.url).returncode == 3


def test_status_tells_age_and_is_exit_4_when_stale_or_empty() -> None:
    with Sandbox(World("small")) as box:
        empty = orgx_sync("status")
        assert (empty.returncode, "orgx-sync run creates it" in empty.stderr) == (4, True)
        orgx_sync("run", box=box)
        box.forget()
        assert orgx_sync("status").returncode == 0
        assert orgx_sync("status", "--max-age", "0").returncode == 4
        found = json.loads(orgx_sync("status", "--json").stdout)
        assert found["tables"]["tasks"]["rows"] == box.world.count("task")
        assert box.requests == []


def test_status_works_on_a_machine_that_has_only_the_warehouse() -> None:
    with Sandbox(World("small")) as box:
        orgx_sync("run", box=box)
        found = json.loads(orgx_sync("status", "--json", DLT_DATA_DIR="elsewhere").stdout)
        assert found["stale"] == []


def test_a_fresh_machine_goes_on_from_the_state_in_the_warehouse() -> None:
    with Sandbox(World("medium")) as box:
        orgx_sync("run", box=box)
        box.forget()
        assert orgx_sync("run", "--sample", "0", box=box, DLT_DATA_DIR="elsewhere").returncode == 0
        assert len(box.requests) == len(KINDS) + 1


def test_tables_lists_every_table_and_column() -> None:
    assert all(table in orgx_sync("tables").stdout for table in KINDS)
    assert "resolution_summary" in orgx_sync("tables", "decisions").stdout
    assert json.loads(orgx_sync("tables", "tasks", "--json").stdout)["tasks"]["key"] == "id"
    assert orgx_sync("tables", "nope").returncode == 2


def test_demo_leaves_a_database_and_a_report_and_can_be_repeated() -> None:
    for _ in range(2):
        done = orgx_sync("demo", "--days", "1")
        assert done.returncode == 0, done.stderr
        assert "What needs a person now?" in done.stdout
        assert done.stdout.splitlines()[-1].startswith("Report written to orgx_demo.html")
    filled = query(
        "select (select count(*) from orgx.initiatives), (select count(*) from orgx.agents), "
        "(select count(*) from orgx.artifacts), (select count(*) from orgx.decisions)",
        Path("orgx_demo.duckdb"),
    )
    assert all(filled[0])
    assert "Northwind Labs" in Path("orgx_demo.html").read_text()


def test_demo_replaces_nothing_but_a_demonstration() -> None:
    Path("notes.txt").write_text("precious")
    done = orgx_sync("demo", "--days", "1", "--database", "notes.txt")
    assert (done.returncode, Path("notes.txt").read_text()) == (3, "precious")
    assert "left alone" in done.stderr
    with duckdb.connect("mine.duckdb") as mine:
        mine.execute("create table t as select 1 as one")
    assert orgx_sync("demo", "--days", "1", "--database", "mine.duckdb").returncode == 3
    with duckdb.connect("mine.duckdb") as mine:
        assert mine.execute("select one from t").fetchone() == (1,)
        mine.execute("create schema orgx; create table orgx.workspaces as select 'Northwind Labs' as name")
    # What a run has read from a sandbox, too.
    assert orgx_sync("demo", "--days", "1", "--database", "mine.duckdb").returncode == 3
    Path("begun.html").write_text("a page of mine")
    assert orgx_sync("demo", "--days", "1", "--database", "begun.duckdb").returncode == 3
    assert Path("begun.html").read_text() == "a page of mine"
    Path("begun.html").unlink()
    duckdb.connect("begun.duckdb").close()
    assert orgx_sync("demo", "--days", "1", "--database", "begun.duckdb").returncode == 0


def test_of_two_demonstrations_at_once_one_says_that_the_other_makes_the_file() -> None:
    with FileLock(file_folder(Path("orgx_demo.duckdb"), "orgx") / "demo.lock"):
        done = orgx_sync("demo", "--days", "1")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "Another demo is writing orgx_demo.duckdb" in done.stderr
    assert not Path("orgx_demo.duckdb").exists()


def test_marts_of_a_dataset_that_is_not_there_are_not_made() -> None:
    with Sandbox(World("small")) as box:
        assert orgx_sync("run", "--table", "agents", box=box).returncode == 0
    done = orgx_sync("marts", "--dataset", "orgks")
    assert done.returncode == 4
    assert "The dataset orgks is empty" in done.stderr
    assert not query("from duckdb_schemas() where schema_name like 'orgks%'", Path("orgx.duckdb"))


@pytest.mark.parametrize("dataset", ["orgx", "My Data"])
def test_the_query_that_a_run_proposes_runs(dataset: str) -> None:
    with Sandbox(World("small")) as box:
        done = orgx_sync("run", "--table", "initiatives", "--dataset", dataset, box=box)
    assert done.returncode == 0, done.stdout + done.stderr
    proposed = done.stdout.replace("\n", " ").partition("Next: orgx-sync ")[2]
    answer = orgx_sync(*shlex.split(proposed))
    assert answer.returncode == 0, answer.stderr
    assert "active" in answer.stdout


def test_the_default_file_and_dataset_work_though_they_share_a_name() -> None:
    with Sandbox(World("small")) as box:
        assert orgx_sync("run", box=box).returncode == 0
        assert orgx_sync("run", box=box).returncode == 0
        assert query("select count(*) from orgx.orgx.tasks", Path("orgx.duckdb")) == [(box.world.count("task"),)]


@pytest.mark.parametrize("command", ["run", "check", "status", "export out"])
def test_a_file_that_is_no_database_is_one_sentence(command: str) -> None:
    Path("notes.duckdb").write_text("not a database")
    with Sandbox(World("small")) as box:
        done = orgx_sync(*command.split(), "--database", "notes.duckdb", box=box)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "notes.duckdb" in line]
    assert done.returncode == 3
    assert "The DuckDB file cannot be read" in lines[0]
    assert "not a valid DuckDB database file" in lines[0]
    assert "Traceback" not in done.stderr
    assert Path("notes.duckdb").read_text() == "not a database"


def test_a_database_that_another_process_holds_is_exit_4_and_names_it() -> None:
    with Sandbox(World("small")) as box:
        assert orgx_sync("run", box=box).returncode == 0
        holder = subprocess.Popen(
            [sys.executable, "-c", "import duckdb; c = duckdb.connect('orgx.duckdb'); print(1, flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            done = orgx_sync("run", "--lock-timeout", "0", box=box)
            assert done.returncode == 4
            assert f"PID {holder.pid}" in done.stdout
        finally:
            holder.communicate(b"\n")
        assert orgx_sync("run", box=box).returncode == 0


def test_the_nightly_script_syncs_and_leaves_with_the_code() -> None:
    script = Path(__file__).parents[2] / "pipelines" / "nightly.py"
    assert len(script.read_text().splitlines()) < 60
    with Sandbox(World("small")) as box:
        settings = {"ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url, "ORGX_DATABASE": "x.duckdb"}
        command = [sys.executable, str(script)]
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "tasks: " in done.stdout
        assert differences(box.world) == []
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True)
    assert (done.returncode, "not started: No OrgX API key" in done.stderr) == (3, True)


def test_status_says_the_same_of_a_file_with_dlt_and_without() -> None:
    with Sandbox(World("small")) as box:
        assert orgx_sync("run", box=box).returncode == 0
        box.world.delete("task", next(iter(box.world.find("task"))))
        assert orgx_sync("run", box=box).returncode == 0
    age = timedelta(hours=1)
    without = read_file_status(Path("orgx.duckdb"), "orgx", age)
    assert without is not None
    assert without.tables["tasks"].deleted == 1
    assert without.to_json() == read_status(make_pipeline(), age).to_json()


def test_status_leaves_a_file_to_dlt_when_it_does_not_know_its_form() -> None:
    with duckdb.connect("other.duckdb") as connection:
        connection.execute("create schema orgx")
        connection.execute("create table orgx._dlt_loads as select '1' as load_id, 0 as status")
        connection.execute("create table orgx._dlt_pipeline_state as select '{}' as state, '1' as _dlt_load_id")
    assert read_file_status(Path("other.duckdb"), "orgx", timedelta(hours=1)) is None
    Path("no.duckdb").write_text("no database")
    assert read_file_status(Path("no.duckdb"), "orgx", timedelta(hours=1)) is None


def test_quiet_says_once_what_stopped_several_tables_and_nothing_of_those_that_came() -> None:
    closed = [Fault("closed", 403, path="/api/entities")]
    with Sandbox(World("small"), faults=closed) as box:
        done = orgx_sync("run", "--quiet", *(f"--table={name}" for name in ("initiatives", "milestones")), box=box)
        assert done.returncode == 1
        assert "initiatives" not in done.stderr and "milestones: no route is open" in done.stderr
    with Sandbox(World("small"), rate_limit=RateLimit(1)) as box:
        done = orgx_sync("run", "--quiet", "--max-wait", "0", "--table", "agents", "--table", "tasks", box=box)
        assert done.returncode == 4
        assert done.stderr.startswith("agents, tasks: ")
        assert done.stderr.count("would exceed --max-wait") == 1


def test_one_reason_to_wait_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = RunProgress(None, quiet=False)
    for _ in range(5):
        progress.wait(0.5, "somebody has it")
    progress.wait(1.0, "another reason")
    assert capsys.readouterr().err.splitlines() == ["waiting 0.5 s: somebody has it", "waiting 1.0 s: another reason"]
