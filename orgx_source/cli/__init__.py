"""The command ``orgx-sync``: defines the commands, delegates to other packages, and sets the exit code.

dlt takes most of a second to import, so each command imports what needs it. A command returns its exit code; None is 0.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from orgx_source.cli import options
from orgx_source.cli.process import hide_unused_packages, set_up_process
from orgx_source.cli.settings_file import read_options
from orgx_source.cli.usage import Command, misplaced
from orgx_source.errors import ConfigError, OrgxError, worst_exit_code
from orgx_source.explain import explain, without_secrets
from orgx_source.tables import OTHER_TABLES, TABLES
from orgx_source.texts import visible, visible_json
from orgx_source.version import __version__

if TYPE_CHECKING:
    from orgx_source.api.client import OrgxClient
    from orgx_source.commands.export import FileFormat
    from orgx_source.config import OrgxConfig
    from orgx_source.inbox.signature import Encoding
    from orgx_source.reading.report import RunReport
    from orgx_source.warehouse.target import Target

EXIT_CODES = """
Exit codes: 0 success, 1 failure (at least one table), 2 usage error, 3 configuration, credentials or permissions,
4 incomplete or stale: try again later, 130 interrupted.
"""
# Commands that work on a sample organisation only.
MADE_UP = frozenset({"demo", "sandbox"})
SIZES = click.Choice(["small", "medium", "large"])


def _options(command: click.Command) -> list[click.Option]:
    return [option for option in command.params if isinstance(option, click.Option)]


def _variable(option: click.Option) -> str:
    """Return the long form of an option as a name: ``MAX_WAIT``."""
    return max(option.opts, key=len).lstrip("-").upper().replace("-", "_")


class _Commands(click.Group):
    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the command; an option of a command is named as such."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise misplaced(error, self.commands, ctx) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order defined here, most used first."""
        return list(self.commands)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, with an environment variable for each option: ``--max-wait`` is ``ORGX_MAX_WAIT``.

        For `MADE_UP` commands the variable includes the command's name, so that a variable that points runs to a
        warehouse does not point the demo there.
        """
        super().add_command(cmd, name)
        own = f"{name or cmd.name}_".upper() if (name or cmd.name) in MADE_UP else ""
        for option in _options(cmd):
            option.envvar, option.show_envvar = f"ORGX_{own}{_variable(option)}", True


@click.group(
    cls=_Commands, epilog=EXIT_CODES, context_settings={"show_default": True, "help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="orgx-sync", message="%(prog)s %(version)s", help="Print the version.")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Load OrgX into a warehouse with dlt, and report how complete each read was."""
    if ctx.invoked_subcommand in MADE_UP:
        return
    commands = {name: command for name, command in app.commands.items() if name not in MADE_UP}
    known = {
        _variable(option).lower(): str(option.name) for command in commands.values() for option in _options(command)
    }
    repeatable = {
        _variable(option).lower() for command in commands.values() for option in _options(command) if option.multiple
    }
    _note_json(commands.get(ctx.invoked_subcommand or ""), os.environ.get("ORGX_JSON"))
    given = read_options(known, repeatable)
    _note_json(commands.get(ctx.invoked_subcommand or ""), given.get("as_json"))
    ctx.default_map = dict.fromkeys(commands, given)


def _note_json(command: click.Command | None, value: object) -> None:
    """Note that a setting asks a command for JSON: it is then due in every case, as with ``--json``."""
    global _is_json_set
    if command is not None and any(option.name == "as_json" for option in _options(command)):
        _is_json_set = _is_json_set or str(value).strip().lower() in ("1", "true", "t", "yes", "y", "on")


@app.command()
@options.warehouse
@click.option("--yes", is_flag=True, help="Ask no questions; use options and environment variables.")
def init(target: Target, yes: bool) -> int:
    """Ask for the key and the warehouse, write both to .dlt, and test them."""
    _set_up_logging(verbose=False)
    from orgx_source.cli.init import run_init

    return run_init(target, yes=yes)


@app.command()
@options.tables_to_fill
@options.warehouse
@click.option("--full", is_flag=True, help="Read everything again, and overwrite manual changes.")
@options.workspace
@options.routes
@click.option("--workers", type=options.WholeNumber(1, 64), default=8, metavar="N", help="Pages requested in parallel.")
@click.option(
    "--max-wait",
    type=options.Seconds(min=0),
    default=900,
    metavar="SECONDS",
    help="Maximum time spent waiting on rate limits and backoff.",
)
@click.option(
    "--sample",
    type=options.WholeNumber(min=0),
    default=3,
    metavar="N",
    help="Requests that check a sample of old rows for changes without a new timestamp; 0 disables them.",
)
@click.option(
    "--max-requests",
    type=options.WholeNumber(min=1),
    show_default="no limit",
    metavar="N",
    help="Maximum number of requests to send.",
)
@click.option(
    "--lock-timeout",
    type=options.Seconds(min=0),
    default=60,
    metavar="SECONDS",
    help="Maximum wait for a DuckDB file or PostgreSQL lock held by another process.",
)
@click.option(
    "--marts/--no-marts",
    default=True,
    help="Create the marts; --no-marts is for a database role that cannot create schemas.",
)
@click.option(
    "--publish",
    type=options.FILE,
    metavar="FILE",
    help="After the run, copy the DuckDB file here atomically, for readers.",
)
@click.option("--dry-run", is_flag=True, help="Show what the run would do, like orgx-sync plan.")
@options.as_json
@options.quiet
@options.verbose
def run(
    tables: Sequence[str],
    target: Target,
    workspace: str | None,
    routes: Sequence[tuple[str, str]],
    publish: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> int:
    """Bring the warehouse up to date with OrgX."""
    _set_up_logging(verbose)
    if target.is_file:
        # The drivers of some other destinations need it.
        hide_unused_packages()
    _check_publishing(publish, target)
    config = _config(workspace_id=workspace, routes=dict(routes), **settings)
    if dry_run:
        return _plan(tables, target, config, as_json=as_json)
    from orgx_source.cli import console
    from orgx_source.sync import run_sync

    pipeline = target.pipeline()
    with console.progress(quiet=quiet) as progress:
        report = run_sync(
            config,
            pipeline,
            tables=tables,
            client=_client(config),
            on_progress=progress.advance,
            on_wait=progress.wait,
        )
    published = _publish(report, pipeline, publish, target, config.lock_timeout)
    _print_run(report, published, target, as_json=as_json, quiet=quiet)
    return report.exit_code


@app.command()
@options.warehouse
@options.workspace
@click.option("--host", default="127.0.0.1", metavar="NAME", help="Address to listen on.")
@click.option("--port", type=options.WholeNumber(0, 65535), default=8787, metavar="N", help="Port; 0 picks a free one.")
@click.option(
    "--batch-seconds",
    type=options.Seconds(min=0),
    default=3,
    metavar="SECONDS",
    help="Target time for collecting and loading one batch of events.",
)
@click.option(
    "--inbox",
    type=options.FILE,
    show_default="beside the DuckDB file",
    metavar="FILE",
    help="SQLite file for events that are not in the warehouse yet.",
)
@click.option(
    "--signature",
    "encoding",
    type=click.Choice(["hex", "base64"]),
    default="hex",
    help="Encoding of the digest in X-OrgX-Signature.",
)
@click.option(
    "--publish",
    type=options.FILE,
    metavar="FILE",
    help="Copy the DuckDB file here after each load, for readers.",
)
@options.verbose
def listen(
    target: Target,
    workspace: str | None,
    host: str,
    port: int,
    batch_seconds: float,
    inbox: Path | None,
    encoding: Encoding,
    publish: Path | None,
    verbose: bool,
) -> int:
    """Receive OrgX's webhooks and load their rows within seconds.

    Accepts POST requests on / and /webhooks/orgx, signed with the secret in ORGX_WEBHOOK_SECRET or .dlt/secrets.toml.
    GET /healthz returns the number of waiting events. Keep the nightly runs: only they verify that nothing is missing.
    """
    _set_up_logging(verbose)
    from orgx_source.cli.listen import run_listen

    return run_listen(
        _config(workspace_id=workspace),
        target,
        host=host,
        port=port,
        batch_seconds=batch_seconds,
        inbox=inbox,
        encoding=encoding,
        publish=publish,
    )


@app.command()
@options.only_tables
@options.warehouse
@options.workspace
@options.routes
@options.as_json
@options.verbose
def check(
    tables: Sequence[str],
    target: Target,
    workspace: str | None,
    routes: Sequence[tuple[str, str]],
    as_json: bool,
    verbose: bool,
) -> int:
    """Test the key, the routes and the destination."""
    _set_up_logging(verbose)
    config = _config(workspace_id=workspace, routes=dict(routes))
    from orgx_source.cli import console
    from orgx_source.commands.check import run_check

    pipeline = target.pipeline()
    with target.left_missing(), console.progress(quiet=as_json) as progress:
        report = run_check(config, pipeline, tables=tables, on_table=progress.looking_at)
    _print_json(report.to_json()) if as_json else console.print_check(report)
    _tell_login()
    return report.exit_code


@app.command()
@options.only_tables
@options.warehouse
@click.option("--full", is_flag=True, help="Plan a full run, which reads everything again.")
@options.workspace
@options.routes
@options.as_json
@options.verbose
def plan(
    tables: Sequence[str],
    target: Target,
    full: bool,
    workspace: str | None,
    routes: Sequence[tuple[str, str]],
    as_json: bool,
    verbose: bool,
) -> int:
    """Show what a run would do, without writing anything.

    Prints the route, requests and rows for each table.
    """
    _set_up_logging(verbose)
    return _plan(tables, target, _config(workspace_id=workspace, routes=dict(routes), full=full), as_json=as_json)


def _plan(tables: Sequence[str], target: Target, config: OrgxConfig, *, as_json: bool) -> int:
    from orgx_source.cli import console
    from orgx_source.commands.plan import run_plan

    # Opening a file that does not exist creates it.
    pipeline = target.pipeline(read_only=not target.is_missing)
    with target.left_missing(), console.progress(quiet=as_json) as progress:
        report = run_plan(config, pipeline, tables=tables, on_table=progress.looking_at)
    _print_json(report.to_json()) if as_json else console.print_plan(report)
    return report.exit_code


@app.command()
@options.only_tables
@options.warehouse
@options.workspace
@options.routes
@options.as_json
@options.verbose
def verify(
    tables: Sequence[str],
    target: Target,
    workspace: str | None,
    routes: Sequence[tuple[str, str]],
    as_json: bool,
    verbose: bool,
) -> int:
    """Compare the warehouse with OrgX, row by row.

    Reads OrgX in full and compares it with the stored values, including manual changes. Writes nothing.
    """
    _set_up_logging(verbose)
    config = _config(workspace_id=workspace, routes=dict(routes))
    from orgx_source.cli import console
    from orgx_source.commands.verify import run_verify

    target.require()
    with console.progress(quiet=as_json) as progress:
        report = run_verify(
            config,
            target.pipeline(read_only=True),
            tables=tables,
            client=_client(config),
            on_table=progress.looking_at,
        )
    _print_json(report.to_json()) if as_json else console.print_verify(report)
    return report.exit_code


@app.command()
@options.warehouse
@click.option(
    "--max-age",
    type=options.Age(),
    default="36h",
    metavar="TIME",
    help="A table last read longer ago than this is stale (exit code 4): 90m, 26h, 2d.",
)
@options.as_json
@options.verbose
def status(target: Target, max_age: timedelta, as_json: bool, verbose: bool) -> int:
    """Show what is in the warehouse and how old it is."""
    _set_up_logging(verbose)
    from orgx_source.cli import console
    from orgx_source.commands.status import read_file_status, read_status

    target.require()
    report = read_file_status(target.database, target.dataset, max_age) if target.is_file else None
    if report is None:
        report = read_status(target.pipeline(), max_age)
    _tell_login()
    _print_json(report.to_json()) if as_json else console.print_status(report, with_routes=verbose)
    return report.exit_code


@app.command()
@click.argument("sql")
@click.option(
    "--format",
    "answer_format",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    help="Output format.",
)
@click.option(
    "--limit",
    type=options.WholeNumber(min=1),
    default=100,
    metavar="N",
    help="Maximum rows to print as a table; CSV and JSON have no limit.",
)
@options.warehouse
@options.verbose
def query(sql: str, answer_format: str, limit: int, target: Target, verbose: bool) -> None:
    """Run one SQL query on the warehouse.

    Tables and marts can be referenced by their bare names. SQL is one read-only statement; "-" reads it from stdin.
    """
    _set_up_logging(verbose)
    from orgx_source.cli import console
    from orgx_source.commands.query import run_query, write_csv, write_json

    target.require()
    writers: dict[str, Callable[[Sequence[str], Iterator[tuple[Any, ...]]], None]] = {
        "table": partial(console.print_answer, limit=limit),
        "csv": partial(write_csv, sys.stdout),
        "json": partial(write_json, sys.stdout),
    }
    run_query(target, _read_stdin() if sql == "-" else sql, writers[answer_format])


def _read_stdin() -> str:
    # None if it was closed. As UTF-8, whatever the locale; other bytes stay recognisable.
    return sys.stdin.buffer.read().decode("utf-8-sig", "surrogateescape") if sys.stdin is not None else ""


@app.command()
@options.warehouse
@options.as_json
@options.verbose
def marts(target: Target, as_json: bool, verbose: bool) -> None:
    """Create the views that answer common questions.

    The views are in dataset NAME_marts. Every run creates them too.
    """
    _set_up_logging(verbose)
    from orgx_source.cli import console
    from orgx_source.marts import marts_in_order
    from orgx_source.marts.apply import marts_dataset
    from orgx_source.sync import renew_marts

    target.require()
    written = renew_marts(target.pipeline())
    shown = [mart for mart in marts_in_order() if not mart.is_staging]
    if as_json:
        names = [mart.name for mart in shown]
        _print_json({"dataset": marts_dataset(target.dataset), "written": written, "marts": names, "exit_code": 0})
    else:
        console.print_marts(shown, marts_dataset(target.dataset), written=written)


@app.command()
@click.argument("directory", metavar="DIR", type=options.DIRECTORY)
@click.option("--format", "file_format", type=click.Choice(["parquet", "csv"]), default="parquet", help="File format.")
@click.option("--table", "tables", multiple=True, metavar="NAME", help="Export only this table or view; repeatable.")
@click.option(
    "--guard-formulas",
    is_flag=True,
    help="In CSV, put an apostrophe before text that a spreadsheet would treat as a formula.",
)
@options.warehouse
@options.as_json
@options.quiet
@options.verbose
def export(
    directory: Path,
    file_format: FileFormat,
    tables: Sequence[str],
    guard_formulas: bool,
    target: Target,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Write each table and view as a file.

    Includes the marts. Files are named DIR/DATASET/TABLE.FORMAT.
    """
    _set_up_logging(verbose)
    from orgx_source.cli import console
    from orgx_source.commands.export import export_tables

    if guard_formulas and file_format != "csv":
        raise click.BadParameter("applies to CSV files only: add --format csv", param_hint="--guard-formulas")
    target.require()
    found = export_tables(
        target.pipeline(read_only=True), directory, file_format, tables, guard_formulas=guard_formulas
    )
    files, failed = ([file for file in found if (file.error is None) is good] for good in (True, False))
    code = 1 if failed else 0
    if as_json:
        written = {"files": [file.to_json() for file in files], "failed": [file.to_json() for file in failed]}
        _print_json({"format": file_format, **written, "exit_code": code})
    elif not quiet:
        console.print_export(files)
    for file in failed:
        click.echo(f"orgx-sync: {file.error}", err=True)
    return code


@app.command()
@click.option(
    "--output",
    type=options.FILE,
    default="orgx_report.html",
    metavar="FILE",
    help="HTML file to write; an older report is replaced.",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in the default browser.")
@options.warehouse
@options.quiet
@options.verbose
def report(output: Path, open_page: bool, target: Target, quiet: bool, verbose: bool) -> None:
    """Write the marts as one HTML page.

    The page has charts and tables, needs no network, and opens in any browser.
    """
    _set_up_logging(verbose)
    from orgx_source.cli import console
    from orgx_source.html_report import write_report

    target.require()
    write_report(target.pipeline(read_only=True), output)
    if not quiet:
        console.print_written(output)
    if open_page:
        import webbrowser

        webbrowser.open(output.resolve().as_uri())


@app.command("tables")
@click.argument(
    "name", metavar="[TABLE]", required=False, type=options.DescribedName(*OTHER_TABLES, *options.HISTORIES)
)
@options.as_json
def list_tables(name: str | None, as_json: bool) -> None:
    """List the tables and marts, or the columns of one."""
    from orgx_source.cli import console

    if as_json:
        _print_json({each: console.describe_table(each) for each in ([name] if name else [*TABLES, *OTHER_TABLES])})
    elif name:
        console.print_table_columns(name)
    else:
        console.print_tables()


@app.command()
@click.option(
    "--database",
    type=options.FILE,
    show_default="orgx_demo.duckdb; orgx_live.duckdb with --live",
    metavar="FILE",
    help="DuckDB file to create; an earlier demo is replaced.",
)
@click.option("--size", type=SIZES, show_default="small; medium with --live", help="Size of the sample organisation.")
@click.option(
    "--days",
    type=options.WholeNumber(1, 366),
    show_default="28",
    metavar="N",
    help="Days to simulate, with syncs in between.",
)
@click.option(
    "--start",
    type=options.Day(),
    show_default="N days ago",
    metavar="DATE",
    help="First simulated day, such as 2026-09-01.",
)
@click.option(
    "--live",
    type=options.Seconds(min=1),
    is_flag=False,
    flag_value=60.0,
    show_default="off; 60 without a number",
    metavar="[SECONDS]",
    help="Sync once, then load and show webhook events as they arrive, for this long.",
)
@options.verbose
def demo(
    database: Path | None, size: str | None, days: int | None, start: datetime | None, live: float | None, verbose: bool
) -> int:
    """Sync a sample organisation; no account needed."""
    _set_up_logging(verbose)
    from orgx_source.cli.demo import run_demo, run_live_demo

    if live is None:
        return run_demo(database or Path("orgx_demo.duckdb"), size or "small", days or 28, start)
    if days or start:
        raise click.UsageError("--live cannot be combined with --days or --start.")
    return run_live_demo(database or Path("orgx_live.duckdb"), size or "medium", live)


@app.command()
@click.option(
    "--port",
    type=options.WholeNumber(0, 65535),
    default=8700,
    metavar="N",
    help="Port on 127.0.0.1; 0 picks a free one.",
)
@click.option("--size", type=SIZES, default="small", help="Size of the sample organisation.")
@click.option("--seed", type=int, default=7, metavar="N", help="Random seed of the sample organisation.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[=VALUE][@PATH]",
    help="Fault to inject; 'list' shows all. Repeatable.",
)
@click.option(
    "--rate-limit",
    type=options.WholeNumber(min=1),
    show_default="none",
    metavar="N",
    help="Requests allowed per hour; reported in headers.",
)
@click.option("--webhook", metavar="URL", help="Simulate activity and send its events to this receiver.")
@click.option("--webhook-secret", metavar="TEXT", help="Secret that signs the events.")
@click.option(
    "--webhook-fault",
    "webhook_faults",
    multiple=True,
    metavar="KIND[=VALUE]",
    help="Fault to inject into events; 'list' shows all. Repeatable.",
)
def sandbox(
    port: int,
    size: str,
    seed: int,
    faults: Sequence[str],
    rate_limit: int | None,
    webhook: str | None,
    webhook_secret: str | None,
    webhook_faults: Sequence[str],
) -> int:
    """Serve a sample OrgX on this machine."""
    from orgx_source.cli.demo import serve_sandbox
    from orgx_source.cli.live import sending

    if webhook_secret and not webhook:
        raise click.BadParameter("there is no receiver: add --webhook URL", param_hint="--webhook-secret")
    with sending(webhook, webhook_secret, webhook_faults) as live:
        return serve_sandbox(port, size, seed, faults, rate_limit, live) if live else 0


@app.command()
@click.option(
    "--no-browser", is_flag=True, help="Do not open a browser: print the address and wait until it is opened."
)
@options.verbose
def login(no_browser: bool, verbose: bool) -> None:
    """Log in to OrgX's MCP endpoint.

    You grant access in a browser. The login is stored on this machine for 30 days; every machine needs its own.
    """
    _set_up_logging(verbose)
    import webbrowser

    from orgx_source.config import load_mcp_url
    from orgx_source.login.flow import log_in

    def show(address: str) -> None:
        click.echo("Open this address in a browser on this machine and grant access:", err=True)
        # On a line of its own and never wrapped: people and scripts copy it.
        click.echo(address)

    mcp_url = load_mcp_url()
    found = log_in(mcp_url, show, None if no_browser else webbrowser.open)
    click.echo(f"Logged in to {mcp_url} for 30 days ({found.scopes}).", err=True)


@app.command()
@options.verbose
def logout(verbose: bool) -> None:
    """Revoke the login to OrgX's MCP endpoint and delete it."""
    _set_up_logging(verbose)
    from orgx_source.config import load_mcp_url
    from orgx_source.login.flow import log_out

    mcp_url = load_mcp_url()
    was_there = log_out(mcp_url)
    click.echo(f"Logged out of {mcp_url}." if was_there else f"There was no login to {mcp_url}.", err=True)


def _tell_login() -> None:
    """Print on stderr how long the MCP login lasts, or what is wrong with it; nothing without a login."""
    import time

    from orgx_source.config import is_anybody_logged_in

    if not is_anybody_logged_in():
        # The address comes from dlt's settings, and dlt takes most of a second to import.
        return
    from orgx_source.config import load_mcp_url
    from orgx_source.login.tokens import describe_login

    try:
        said = describe_login(load_mcp_url(), time.time())
    except ConfigError as problem:
        said = str(problem), True
    if said is not None:
        click.echo(f"{'Warning: ' if said[1] else ''}{said[0].rstrip('.')}.", err=True)


def _print_run(report: RunReport, published: Path | None, target: Target, *, as_json: bool, quiet: bool) -> None:
    from orgx_source.cli import console

    if as_json:
        _print_json({**report.to_json(), "published": str(published) if published else None})
    elif not quiet:
        console.print_run(report)
        console.print_published(published)
        if report.exit_code == 0 and target.is_file:
            console.print_next_step(target, report.tables)
    if (quiet or as_json) and report.exit_code:
        console.print_errors(report)


def _check_publishing(file: Path | None, target: Target) -> None:
    if file is None:
        return
    if not target.is_file:
        raise click.BadParameter("only a DuckDB file can be published", param_hint="--publish")
    from orgx_source.commands.publish import problem_with

    if problem := problem_with(file, target.database, target.dataset):
        raise click.BadParameter(problem, param_hint="--publish")


def _publish(
    report: RunReport, pipeline: Any, file: Path | None, target: Target, patience_seconds: float
) -> Path | None:
    """Publish what a run has loaded; a failure is added to its report."""
    if file is None:
        return None
    from orgx_source.commands.publish import publish
    from orgx_source.warehouse.duckdb_file import LockPatience

    if report.error is not None:
        report.messages.append(f"{file} was not published because the run failed.")
        return None
    try:
        publish(pipeline, target.database, file, LockPatience(patience_seconds))
    except OrgxError as error:
        report.messages.append(str(error))
        report.exit_code = worst_exit_code(report.exit_code, error.exit_code)
        report.settle()
        return None
    return file


def _config(**given: Any) -> OrgxConfig:
    from orgx_source.config import load_config

    return load_config(**given)


def _client(config: OrgxConfig) -> OrgxClient:
    """Return the OrgX client. An interrupt first wakes its waiting threads, because the process must join them."""
    from orgx_source.api.client import OrgxClient

    client = OrgxClient(config)

    def interrupt(number: int, frame: FrameType | None) -> None:
        client.budget.stop()
        signal.default_int_handler(number, frame)

    # A different handler means that the parent process disabled interrupts.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    return client


class _WithoutSecrets(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return a log record as one line."""
        return visible(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return a log record and its traceback with passwords and keys masked."""
        return visible(without_secrets(super().format(record)), keep_lines=True)


def _set_up_logging(verbose: bool) -> None:
    """Send this package's log to stderr; never the HTTP library's, which contains every URL.

    dlt's log needs --verbose: on a full disk dlt writes six thousand lines of tracebacks before the error itself.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithoutSecrets("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("orgx_source")
    log.handlers = [handler]
    log.setLevel(logging.INFO if verbose else logging.ERROR)
    log.propagate = False
    logging.getLogger("dlt").disabled = not verbose


def _print_json(document: Any) -> None:
    global _has_printed_json
    _has_printed_json = True
    # Some encodings lack characters, and none can encode a lone surrogate.
    plain = (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
    sys.stdout.write(visible_json(json.dumps(document, indent=2, ensure_ascii=plain, default=str)) + "\n")


_has_printed_json = False
_is_json_set = False


def _leave(code: int) -> NoReturn:
    """Exit immediately."""
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written. A normal interpreter shutdown takes up to half a second more.
    atexit._run_exitfuncs()
    os._exit(code)


def main() -> NoReturn:
    """Run the command; every error is one sentence on stderr and an exit code, and with ``--json`` one object too."""
    set_up_process()
    code, sentence = _run()
    if sentence and ("--json" in sys.argv or _is_json_set) and not _has_printed_json:  # guard: one-object-in-every-case
        _print_json({"status": "failed", "error": sentence, "exit_code": code})
    _leave(code)


def _run() -> tuple[int, str]:
    """Run the command; return its exit code and, if it failed, the error message."""
    try:
        return app.main(prog_name="orgx-sync", standalone_mode=False) or 0, ""
    except click.ClickException as error:
        error.show()
        return error.exit_code, error.format_message()
    except (click.Abort, KeyboardInterrupt):
        sentence = "interrupted. Loaded data is kept; the next run continues from there"
        click.echo(f"orgx-sync: {sentence}", err=True)
        return 130, sentence
    except Exception as error:
        failure = _without_folder() or explain(error)
        click.echo(f"orgx-sync: {failure}", err=True)
        return failure.exit_code, str(failure)


def _without_folder() -> ConfigError | None:
    """Return an error if the current folder was removed: dlt and relative paths need it."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return ConfigError("The current folder no longer exists. Change to another one.")
    return None
