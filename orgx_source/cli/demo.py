"""The demo: a sandbox, four simulated weeks in seven syncs, three queries and the report, without an account."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from orgx_source.cli.listen import import_service
from orgx_source.cli.live import import_sandbox, watch_events
from orgx_source.errors import ConfigError, DestinationError
from orgx_source.files import is_plain
from orgx_source.times import utc_now

if TYPE_CHECKING:
    from orgx_source.config import OrgxConfig
    from orgx_source.reading.report import RunReport
    from orgx_source.warehouse.target import Target

QUESTIONS = (
    (
        "What needs a person now?",
        """select kind, urgency, title, round(hours / 24, 1) as days, initiative_title as initiative
from orgx_marts.needs_attention
order by urgency_rank desc, since limit 5""",
    ),
    (
        "How long do decisions wait for a human?",
        """select urgency, count(*) filter (is_open) as waiting, count(*) filter (not is_open) as settled,
  round(median(hours_waiting) filter (not is_open), 1) as median_hours,
  round(max(hours_waiting) filter (is_open), 1) as longest_now
from orgx_marts.decision_latency
group by urgency, urgency_rank order by urgency_rank desc""",
    ),
    (
        "Which agents got work done in the last seven days?",
        """select agent_name as agent, sum(runs_completed)::int as runs, sum(tasks_done)::int as tasks,
  sum(artifacts_produced)::int as artifacts, sum(artifacts_approved)::int as approved
from orgx_marts.agent_throughput_daily
where day > (select max(day) - 7 from orgx_marts.agent_throughput_daily)
group by agent_name order by tasks desc, artifacts desc limit 5""",
    ),
)
# A table that only demo databases have, and the end of demo report pages.
MARK = "_orgx_demo"
MARK_OF_PAGE = f"<!-- {MARK} -->"
# Enough syncs for a useful history; each costs three seconds of CPU time, however little it reads.
LEAST_SYNCS = 7
MOST_DAYS_BETWEEN = 8
RECEIPTS_REACH_BACK = 30


def run_demo(database: Path, size: str, days: int = 28, start: datetime | None = None) -> int:
    """Run the demo; return the exit code.

    Args:
        database: DuckDB file to create.
        size: Size of the organisation.
        days: Days to simulate, with syncs in between.
        start: First simulated day; by default, the last one is today.

    Raises:
        ConfigError: The sandbox's packages are not installed, the folder does not exist, or the file or page exists and
            is not from a demo.
        DestinationError: Another demo or a run is writing the file.
    """
    from orgx_source.warehouse.target import Target

    sandbox = import_sandbox()
    target = Target(database=database)
    target.require_folder()
    page = database.with_suffix(".html")
    with _alone(target):
        _make_room(target, page)
        return _show(sandbox, target, page, size, days, start)


def run_live_demo(database: Path, size: str, seconds: float) -> int:
    """Sync the organisation once, then load its events and show what they change; return the exit code.

    Args:
        database: DuckDB file to create.
        size: Size of the organisation.
        seconds: How long to load events.

    Raises:
        ConfigError: A package of the listener or the sandbox is missing, the folder does not exist, or the file exists
            and is not from a demo.
        DestinationError: Another demo or a run is writing the file.
    """
    from orgx_source.cli import console
    from orgx_source.config import load_config
    from orgx_source.warehouse.target import Target

    import_service()
    sandbox, target = import_sandbox(), Target(database=database)
    target.require_folder()
    with _alone(target):
        _make_room(target)
        with sandbox.Sandbox(sandbox.World(size, start=_this_hour())) as box:
            console.out.print(f"A sample organisation runs at {box.url}. First sync into {database}:\n")
            # Events never concern optional tables.
            config = load_config(api_key=box.api_key, base_url=box.url, optional_tables="none")
            began = time.monotonic()
            report = _sync(box.world, config, target)
            console.print_run(report, seconds=time.monotonic() - began)
            if report.exit_code:
                return report.exit_code
            console.out.print(f"\nLoading events from simulated activity for {seconds:g} s; stop with Ctrl-C:\n")
            watch_events(box, config, target, seconds)
    _invite(database, "select type, outcome, created_at, loaded_at from webhook_events limit 5")
    return 0


def _show(sandbox: Any, target: Target, page: Path, size: str, days: int, start: datetime | None) -> int:
    """Create the organisation, sync it and run the queries; return the exit code."""
    from orgx_source.cli import console
    from orgx_source.config import load_config

    database = target.database
    first_day = start.replace(hour=6, tzinfo=UTC) if start else _this_hour() - timedelta(days=days)
    world = sandbox.World(size, start=first_day)
    with sandbox.Sandbox(world) as box:
        console.out.print(f"A sample organisation runs at {box.url}. First sync into {database}:\n")
        if code := _live(world, load_config(api_key=box.api_key, base_url=box.url), target, days):
            return code
    _answer(target)
    _invite(database, "select * from org_daily limit 5")
    _write_report(target.pipeline(read_only=True), page)
    return 0


@contextmanager
def _alone(target: Target) -> Iterator[None]:
    """Hold the demo lock of the file.

    Raises:
        DestinationError: Another demo holds it.
    """
    from orgx_source.warehouse.pipeline import file_folder

    try:
        with FileLock(file_folder(target.database, target.dataset) / "demo.lock", timeout=0):  # guard: one-demo
            yield
    except Timeout:
        raise DestinationError(
            f"Another demo is writing {target.database}. Wait until it ends, or choose another --database."
        ) from None


def _make_room(target: Target, page: Path | None = None) -> None:
    """Remove an earlier demo and create the marked file.

    Raises:
        ConfigError: The file or its page is not from a demo.
        DestinationError: A run is writing the file.
    """
    import duckdb

    from orgx_source.warehouse.run_lock import one_run_at_a_time

    may_go = _may_go(target.database, _is_demonstration) and (page is None or _may_go(page, _is_page_of_one))
    if not may_go:  # guard: demo-mark
        files = f"{target.database} or {page}" if page else target.database
        raise ConfigError(
            f"{files} already exists and was not created by the demo, so it is left alone. Choose another "
            "--database, or remove it."
        )
    pipeline = target.pipeline()
    with one_run_at_a_time(pipeline):
        target.database.unlink(missing_ok=True)
        target.database.with_name(target.database.name + ".wal").unlink(missing_ok=True)
        # Its state describes the deleted file.
        shutil.rmtree(pipeline.working_dir, ignore_errors=True)
        with duckdb.connect(str(target.database)) as connection:
            connection.execute(f"create table {MARK} as select 'a sample organisation' as what")


def _may_go(file: Path, is_ours: Callable[[Path], bool]) -> bool:
    """Return whether a file may be replaced: it does not exist, or it is a regular file made by a demo."""
    try:
        return not (file.exists() or file.is_symlink()) or (is_plain(file) and is_ours(file))
    except OSError:
        return False


def _live(world: Any, config: OrgxConfig, target: Target, days: int) -> int:
    """Simulate the days with syncs in between; return the exit code of the last one."""
    from orgx_source.cli import console

    moments = days_of_syncs(days)
    read_all = 0
    for before, day, following in zip((0, *moments), moments, (*moments[1:], days + RECEIPTS_REACH_BACK), strict=False):
        is_first, is_last = day == 0, day == days
        if day == moments[1] and not is_last:
            console.out.print(f"\n{days} days pass. Later syncs request only what changed:\n")
        world.advance(days=day - before)
        if is_last:
            console.out.print("\nThe last sync, on an ordinary night:\n")
        began = time.monotonic()
        # Optional tables reach back for weeks, so a few syncs suffice; the others take half the time without them.
        everything = is_first or is_last or following - read_all > RECEIPTS_REACH_BACK
        read_all = day if everything else read_all
        report = _sync(world, config if everything else replace(config, optional_tables=()), target)
        if is_first or is_last:
            # Real time: the simulated clock stands still during a sync.
            console.print_run(report, seconds=time.monotonic() - began)
        else:
            changes = sum(table.rows_new + table.rows_changed + table.rows_deleted for table in report.tables.values())
            console.out.print(f"{world.now:%Y-%m-%d}: {report.status}, {report.requests} requests, {changes:,} changes")
        if report.exit_code:
            return report.exit_code
    return 0


def days_of_syncs(days: int) -> list[int]:
    """Return the days with a sync: the first, evenly spaced ones, and the last two."""
    between = max(LEAST_SYNCS - 2, (days - 1) // MOST_DAYS_BETWEEN)
    return sorted({*(step * (days - 1) // between for step in range(between + 1)), days})


def _sync(world: Any, config: OrgxConfig, target: Target) -> RunReport:
    from orgx_source.cli import console
    from orgx_source.sync import run_sync

    with console.progress(quiet=False) as progress:
        return run_sync(
            config,
            # A new pipeline for each sync: dlt saves a growing trace of all earlier steps with each step.
            target.pipeline(),
            on_progress=progress.advance,
            on_wait=progress.wait,
            # The simulated clock, so that ages and history make sense.
            clock=lambda: world.now,
        )


def _answer(target: Target) -> None:
    """Run the queries and print their results."""
    from orgx_source.cli import console
    from orgx_source.commands.query import run_query

    for title, sql in QUESTIONS:
        run_query(target, sql, partial(console.print_result, title, sql))


def _invite(database: Path, sql: str) -> None:
    """Print a query to try."""
    from orgx_source.cli import console

    console.out.print(f"\nEverything is in [bold]{database}[/]. Ask your own questions:\n")
    console.out.print(console.Text(f'  orgx-sync query --database {shlex.quote(str(database))} "{sql}"'))


def _is_demonstration(database: Path) -> bool:
    """Return whether a file was created by a demo or is empty."""
    import duckdb

    try:
        with duckdb.connect(str(database), read_only=True) as connection:
            names = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
    except duckdb.Error:
        return False
    return not names or MARK in names


def _is_page_of_one(page: Path) -> bool:
    return not page.exists() or page.read_bytes().rstrip().endswith(MARK_OF_PAGE.encode())


def _write_report(pipeline: Any, page: Path) -> None:
    """Write the report next to the database, or print which package it needs."""
    from orgx_source.cli import console
    from orgx_source.html_report import write_report

    try:
        write_report(pipeline, page)
        with page.open("a", encoding="utf-8", newline="\n") as opened:
            opened.write(f"{MARK_OF_PAGE}\n")
    except ConfigError as error:
        console.out.print(str(error), style="yellow", markup=False)
        return
    console.print_written(page)


def _this_hour() -> datetime:
    return utc_now().replace(minute=0, second=0, microsecond=0)


def serve_sandbox(
    port: int,
    size: str,
    seed: int,
    faults: Sequence[str],
    rate_limit: int | None,
    live: Callable[[Any], None] = lambda world: None,
) -> int:
    """Serve the sandbox until it is interrupted; return the exit code.

    Args:
        port: Port on loopback; 0 picks a free one.
        size: Size of the organisation.
        seed: Random seed of the sample organisation.
        faults: Faults to inject, as text.
        rate_limit: Requests per hour.
        live: Called with the world once the server runs.

    Raises:
        ConfigError: The sandbox's packages are not installed, a fault is unknown, or the port is taken.
    """
    from orgx_source.cli import console

    sandbox = import_sandbox()
    if "list" in faults:
        for kind, text in sandbox.FAULT_KINDS.items():
            console.out.print(f"{kind:<20} {text}")
        return 0
    try:
        switched = [sandbox.Fault.parse(text) for text in faults]
        limit = sandbox.RateLimit(rate_limit) if rate_limit else None
        box = sandbox.Sandbox(sandbox.World(size, seed, _this_hour()), port=port, faults=switched, rate_limit=limit)
    except ValueError as error:
        raise ConfigError(f"--fault: {error}") from None
    except OSError as error:
        # Python adds the address to the system's reason.
        reason = str(error.strerror).partition(" (while")[0]
        raise ConfigError(f"Port {port} cannot be used ({reason}); choose another with --port.") from None

    def announce() -> None:
        _announce(box)
        live(box.world)

    box.run(announce)
    return 0


def _announce(box: Any) -> None:
    from orgx_source.cli import console

    counts = ", ".join(f"{box.world.count(kind):,} {kind}s" for kind in ("initiative", "task", "decision", "artifact"))
    console.out.print(f"OrgX sandbox at {box.url}: {counts}. Stop with Ctrl-C. In another terminal:\n")
    console.out.print(f"  export ORGX_BASE_URL={box.url} ORGX_API_KEY={box.api_key}")
    console.out.print(f"  export ORGX_MCP_URL={box.mcp_url}  # orgx-sync login")
    console.out.print("  orgx-sync run --database sandbox.duckdb\n")
