"""What fits on a terminal: at 60, 80 and 120 columns nothing that counts is cut."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from orgx_source.api.routes import ROUTES
from orgx_source.cli import console
from orgx_source.commands.check import CheckReport, TableCheck
from orgx_source.commands.plan import PlanReport, TablePlan
from orgx_source.commands.status import PastRun, StatusReport, TableStatus
from orgx_source.reading.report import RunReport, TableReport
from orgx_source.tables import TABLES

BECAUSE = "changes since 2026-11-27 11:14 UTC; then a page of old rows"
NOW = datetime(2026, 4, 29, 3, 0, tzinfo=UTC)


@pytest.fixture(params=[60, 80, 120])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Console:
    made = Console(file=io.StringIO(), width=request.param, highlight=False, color_system=None)
    monkeypatch.setattr(console, "out", made)
    return made


def lines(terminal: Console) -> list[str]:
    """Return what was printed."""
    assert isinstance(terminal.file, io.StringIO)
    found = terminal.file.getvalue().splitlines()
    assert all(len(line) <= terminal.width for line in found), found
    assert "…" not in terminal.file.getvalue()
    return found


def test_a_run_shows_every_verdict_and_number(terminal: Console) -> None:
    report = RunReport(run_id="r", started_at=NOW, finished_at=NOW + timedelta(seconds=9))
    for name in TABLES:
        table = report.tables.setdefault(name, TableReport())
        table.rows_read, table.rows_new, table.rows_changed, table.rows_deleted = 123_456, 234_567, 34_567, 4_567
        table.rows_in_warehouse, table.requests, table.seconds = 1_234_567, 12_345, 1234.5
        table.verdict = "certified"
    report.tables["tasks"].error, report.tables["tasks"].exit_code = "tasks: requests are used up", 4
    report.tables["agents"].error, report.tables["agents"].exit_code = "agents: closed", 1
    console.print_run(report, terminal)
    shown = "\n".join(lines(terminal))
    for number in ("123,456", "234,567", "34,567", "4,567", "1,234,567"):
        assert shown.count(number) >= len(TABLES)
    assert shown.count("certified") == len(TABLES) - 2
    assert (shown.count("incomplete"), shown.count("failed")) == (1, 1)


def test_a_plan_and_a_check_show_every_number_and_route(terminal: Console) -> None:
    plan, check = PlanReport(), CheckReport()
    for name in TABLES:
        route = ROUTES[name][0].name
        plan.tables[name] = TablePlan(route, "changes", BECAUSE, 12_345, 1_234)
        check.tables[name] = TableCheck(route=route, rows=1_234_567, total="doubtful", order="not sortable")
    console.print_plan(plan)
    console.print_check(check)
    shown = "\n".join(lines(terminal))
    assert (shown.count("12,345"), shown.count("1,234,567")) == (len(TABLES), len(TABLES))
    assert shown.count("2026-11-27") == shown.count("old") == len(TABLES)
    if terminal.width == 120:
        assert all(shown.count(ROUTES[name][0].name) >= 2 for name in TABLES)


def test_only_what_may_be_wrong_is_yellow() -> None:
    report = RunReport(run_id="r", started_at=NOW, finished_at=NOW)
    limited, doubtful = (report.tables.setdefault(name, TableReport()) for name in ("runs", "tasks"))
    limited.verdict = doubtful.verdict = "uncertified"
    limited.reasons.append("a limit of the route")
    doubtful.doubt("a gap")
    shown = io.StringIO()
    terminal = Console(file=shown, width=80, force_terminal=True, color_system="standard", no_color=False)
    console.print_run(report, terminal)
    yellow = [line for line in shown.getvalue().splitlines() if "\x1b[33m" in line]
    assert ["tasks" in line for line in yellow] == [True, True]
    assert ("uncertified" in yellow[0], "a gap" in yellow[1]) == (True, True)


def test_a_status_shows_every_verdict_and_number(terminal: Console) -> None:
    report = StatusReport()
    for name in TABLES:
        report.tables[name] = TableStatus(
            rows=1_234_567,
            deleted=12_345,
            last_change=NOW,
            last_read=NOW,
            last_whole_read=NOW,
            route="/api/entities",
            verdict="uncertified",
        )
    report.runs = [
        PastRun(
            run_id="r", started_at=NOW, finished_at=NOW, status="incomplete", requests=12_345, rows_new=1_234_567,
            rows_changed=234_567, rows_deleted=34_567, doubtful=["tasks", "agents"], failed=["decisions"],
        )
    ]  # fmt: skip
    console.print_status(report)
    shown = "\n".join(lines(terminal))
    assert shown.count("uncertified") == len(TABLES) + 1
    for number in ("12,345", "1,234,567", "234,567", "34,567"):
        assert number in shown
    assert "uncertified: tasks, agents" in shown
    assert "failed: decisions" in shown


def test_two_lines_a_table_are_aligned_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), width=60, highlight=False, color_system=None)
    monkeypatch.setattr(console, "out", terminal)
    table = TableStatus(1, 0, NOW, NOW, NOW, route=None, verdict="certified")
    report = StatusReport(tables=dict.fromkeys(TABLES, table))
    console.print_status(report)
    rows = [line for line in lines(terminal) if "certified" in line]
    assert len(rows) == len(TABLES)
    assert {line.index("1 row   certified") for line in rows} == {rows[0].index("1 row   certified")}


def test_runs_with_the_same_uncertified_tables_share_a_line(terminal: Console) -> None:
    runs = [
        PastRun(
            run_id=str(age),
            started_at=NOW - timedelta(days=age),
            finished_at=NOW,
            status="ok",
            requests=9,
            doubtful=names,
        )
        for age, names in enumerate((["usage"], ["usage"], ["tasks", "usage"], ["usage"], []))
    ]
    console.print_status(StatusReport(runs=runs))
    assert [line for line in lines(terminal) if "uncertified" in line] == [
        "2026-04-29 03:00 and 2 earlier runs: uncertified: usage",
        "2026-04-27 03:00: uncertified: tasks, usage",
    ]


def test_the_live_demonstration_fits_and_says_how_long_events_took(terminal: Console) -> None:
    board = console.EventBoard(until=0.0, in_place=True)
    board.show([], [])
    terminal.print(board.draw())
    title = "Choose a vendor: " + "status page " * 20
    queue = [("critical", title, "Orchestrator of all", datetime.now(UTC), 1_234)] * 5
    for _ in range(5):
        board.show(queue, [(NOW, "initiative.updated", lag, title) for lag in (1.0, 2.0, 30.0)])
    terminal.print(board.draw())
    assert isinstance(terminal.file, io.StringIO)
    shown = terminal.file.getvalue()
    assert all(len(line) <= terminal.width for line in shown.splitlines()), shown
    assert "Decisions: none waiting" in shown and "0 events; 0 s left" in shown
    assert (
        "Decisions: 1,234 waiting, the newest" in shown
        and shown.count("critical") == 5
        and shown.count("just now") == 5
    )
    assert shown.count("initiative.updated  Choose") == console.EVENTS_SHOWN
    assert "15 events, from event to row: median 2.0 s, worst 30.0 s; 0 s left" in " ".join(shown.split())
