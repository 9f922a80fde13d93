"""The whole way in a minute, without an account: sandbox, two syncs with a day between them, three questions."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orgx_source.errors import ConfigError

QUESTIONS = (
    (
        "Which initiatives are moving?",
        """select title, status, progress_pct, updated_at::date as last_update
from orgx.initiatives
where status in ('active', 'at_risk', 'blocked') and deleted_at is null
order by updated_at desc nulls last limit 5""",
    ),
    (
        "How long do decisions wait for a human?",
        """select urgency, count(*) filter (status = 'pending') as open, count(resolved_at) as settled,
  round(median(date_diff('minute', created_at, resolved_at))) as median_minutes
from orgx.decisions where deleted_at is null
group by urgency order by open desc""",
    ),
    (
        "Which agents get work approved?",
        """select created_by_name as agent, count(*) as artifacts,
  round(100.0 * count(*) filter (status = 'approved') / count(*)) as approved_pct
from orgx.artifacts where created_by_type = 'agent' and deleted_at is null
group by agent order by artifacts desc limit 5""",
    ),
)


def run_demo(database: Path, size: str) -> int:
    """Run the demonstration; return the exit code.

    Raises:
        ConfigError: The sandbox's packages are not installed.
    """
    import duckdb

    from orgx_source import console
    from orgx_source.config import load_config
    from orgx_source.sync import make_pipeline, run_sync

    sandbox = _import_sandbox()
    database.unlink(missing_ok=True)
    database.with_name(database.name + ".wal").unlink(missing_ok=True)
    pipeline = make_pipeline("duckdb", "orgx", database)
    # An earlier demonstration's state is about a file that is gone.
    shutil.rmtree(pipeline.working_dir, ignore_errors=True)
    pipeline = make_pipeline("duckdb", "orgx", database)
    with sandbox.Sandbox(sandbox.World(size)) as box:
        config = load_config(api_key=box.api_key, base_url=box.url)
        console.out.print(f"A made-up organisation answers at {box.url}. First sync, into {database}:\n")
        for day in range(2):
            if day:
                box.world.advance(days=1)
                console.out.print("\nA day passes there. Second sync, which asks only for what changed:\n")
            with console.progress(quiet=False) as progress:
                report = run_sync(config, pipeline, on_progress=progress.advance, on_wait=progress.wait)
            console.print_run(report)
            if report.exit_code:
                return report.exit_code
    with duckdb.connect(str(database), read_only=True) as connection:
        for title, sql in QUESTIONS:
            result = connection.execute(sql)
            console.print_result(title, sql, [column[0] for column in result.description or ()], result.fetchall())
    console.out.print(f"\nIt is all in [bold]{database}[/]; ask on with any DuckDB client.")
    return 0


def serve_sandbox(port: int, size: str, seed: int, faults: Sequence[str], rate_limit: int | None) -> int:
    """Serve the sandbox until it is interrupted; return the exit code.

    Raises:
        ConfigError: The sandbox's packages are not installed, no such fault, or the port is taken.
    """
    from orgx_source import console

    sandbox = _import_sandbox()
    if "list" in faults:
        for kind, text in sandbox.FAULT_KINDS.items():
            console.out.print(f"{kind:<20} {text}")
        return 0
    try:
        switched = [sandbox.Fault.parse(text) for text in faults]
        limit = sandbox.RateLimit(rate_limit) if rate_limit else None
        box = sandbox.Sandbox(sandbox.World(size, seed), port=port, faults=switched, rate_limit=limit)
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

    box.run(announce)
    return 0


def _import_sandbox() -> Any:
    try:
        from orgx_source import sandbox
    except ImportError as error:
        raise ConfigError(f"The sandbox needs the package {error.name!r}: pip install 'orgx-source[sandbox]'") from None
    return sandbox
