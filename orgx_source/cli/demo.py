"""The whole way in a minute, without an account: sandbox, two syncs with a day between them, three questions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orgx_source.errors import ConfigError
from orgx_source.times import utc_now

if TYPE_CHECKING:
    from orgx_source.config import OrgxConfig
    from orgx_source.reading.report import RunReport
    from orgx_source.warehouse.target import Target

QUESTIONS = (
    (
        "Which initiatives stand still?",
        """select title, status, tasks_done_pct::int as done_pct, tasks_blocked as blocked,
  decisions_pending as pending, round(days_since_movement, 1) as days_still
from orgx_marts.initiatives_current
where status_group in ('active', 'blocked')
order by days_since_movement desc, title limit 5""",
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
# How the workspaces of the sandbox are called.
MADE_UP = "Northwind "
# So many syncs make a history worth looking at; more would only take longer.
MAX_SYNCS = 30


def run_demo(database: Path, size: str, days: int = 1, start: datetime | None = None) -> int:
    """Run the demonstration; return the exit code.

    Args:
        database: DuckDB file to make.
        size: Size of the organisation.
        days: How many days pass there, with syncs between them.
        start: First day there; so that the last one is today when it is not given.

    Raises:
        ConfigError: The sandbox's packages are not installed, or the file is no older demonstration.
    """
    from orgx_source.cli import console
    from orgx_source.config import load_config
    from orgx_source.warehouse.target import Target

    sandbox = _import_sandbox()
    target = Target(database=database)
    _make_room(target)
    first_day = start.replace(hour=6, tzinfo=UTC) if start else _this_hour() - timedelta(days=days)
    world = sandbox.World(size, start=first_day)
    with sandbox.Sandbox(world) as box:
        console.out.print(f"A made-up organisation answers at {box.url}. First sync, into {database}:\n")
        if code := _live(world, load_config(api_key=box.api_key, base_url=box.url), target, days):
            return code
    _answer(database)
    console.out.print(f"\nIt is all in [bold]{database}[/]; ask on with DuckDB 2.0 or newer.")
    _write_report(target.pipeline(), database.with_suffix(".html"))
    return 0


def _make_room(target: Target) -> None:
    """Take an earlier demonstration away.

    Raises:
        ConfigError: The file is none.
    """
    _check_that_it_may_go(target.database)
    target.database.unlink(missing_ok=True)
    target.database.with_name(target.database.name + ".wal").unlink(missing_ok=True)
    # Its state is about a file that is gone.
    shutil.rmtree(target.pipeline().working_dir, ignore_errors=True)


def _live(world: Any, config: OrgxConfig, target: Target, days: int) -> int:
    """Let days pass, with a sync after each step; return the exit code of the last one."""
    from orgx_source.cli import console

    step = max(1, days // MAX_SYNCS)
    for day in range(0, days + 1, step):
        if day:
            world.advance(days=step)
            passed = "A day passes" if step == 1 else f"{step} days pass"
            console.out.print(f"\n{passed} there. Another sync, which asks only for what changed:\n")
        began = time.monotonic()
        report = _sync(world, config, target)
        if day == 0 or day + step > days:
            # By a real clock: that of the organisation stands still meanwhile.
            console.print_run(report, seconds=time.monotonic() - began)
        else:
            console.out.print(f"{world.now:%Y-%m-%d}: {report.status}, {report.requests} requests")
        if report.exit_code:
            return report.exit_code
    return 0


def _sync(world: Any, config: OrgxConfig, target: Target) -> RunReport:
    from orgx_source.cli import console
    from orgx_source.sync import run_sync

    with console.progress(quiet=False) as progress:
        return run_sync(
            config,
            # Anew, as in a process of its own: what a pipeline has done dlt writes down with each step, ever longer.
            target.pipeline(),
            on_progress=progress.advance,
            on_wait=progress.wait,
            # The clock of the organisation, so that ages and history make sense.
            clock=lambda: world.now,
        )


def _answer(database: Path) -> None:
    """Ask the questions, and show the answers."""
    import duckdb

    from orgx_source.cli import console

    with duckdb.connect(str(database), read_only=True) as connection:
        for title, sql in QUESTIONS:
            result = connection.execute(sql)
            console.print_result(title, sql, [column[0] for column in result.description or ()], result.fetchall())


def _check_that_it_may_go(database: Path) -> None:
    """Refuse to replace a file that holds anything but the made-up organisation."""
    import duckdb

    from orgx_source.warehouse.dialect import DUCKDB_FILE

    if not database.exists():
        return
    try:
        with duckdb.connect(str(database), read_only=True) as connection:
            if not connection.execute("from duckdb_tables()").fetchone():
                return
            (catalog,) = connection.execute("select current_database()").fetchone() or ("",)
            found = connection.execute(f"select name from {DUCKDB_FILE.quote(catalog)}.orgx.workspaces").fetchall()
    except duckdb.Error:
        found = []
    if not found or not all(str(name).startswith(MADE_UP) for (name,) in found):
        raise ConfigError(
            f"{database} is there already and is no demonstration, so it is left alone. Give another --database, or "
            "remove it."
        )


def _write_report(pipeline: Any, page: Path) -> None:
    """Write the report next to the database, or say what it needs."""
    from orgx_source.cli import console
    from orgx_source.html_report import write_report

    try:
        write_report(pipeline, page)
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
        port: Port on loopback; 0 takes a free one.
        size: Size of the organisation.
        seed: Another seed makes another organisation.
        faults: What goes wrong, as text.
        rate_limit: Requests per hour.
        live: Called with the world when it is served.

    Raises:
        ConfigError: The sandbox's packages are not installed, no such fault, or the port is taken.
    """
    from orgx_source.cli import console

    sandbox = _import_sandbox()
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
        raise ConfigError(f"Port {port} cannot be used ({error.strerror}); choose another with --port.") from None

    def announce() -> None:
        counts = ", ".join(
            f"{box.world.count(kind):,} {kind}s" for kind in ("initiative", "task", "decision", "artifact")
        )
        console.out.print(f"OrgX sandbox at {box.url}: {counts}. Stop with Ctrl-C. In another terminal:\n")
        console.out.print(f"  export ORGX_BASE_URL={box.url} ORGX_API_KEY={box.api_key}")
        console.out.print("  orgx-sync run --database sandbox.duckdb\n")
        live(box.world)

    box.run(announce)
    return 0


def _import_sandbox() -> Any:
    try:
        from orgx_source import sandbox
    except ImportError as error:
        raise ConfigError(
            f"The sandbox needs the package {error.name!r}: pip install '.[sandbox]' in a checkout"
        ) from None
    return sandbox
