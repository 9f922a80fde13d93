"""The command ``orgx-sync``: options, exit codes, and which room does the work.

dlt takes most of a second to import, so everything that needs it is imported by the command that uses it.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from orgx_source.config import DEFAULT_DATABASE
from orgx_source.errors import ConfigError, OrgxError, worst_exit_code
from orgx_source.own_process import settle_in, without_unused
from orgx_source.tables import TABLES
from orgx_source.version import __version__

if TYPE_CHECKING:
    from orgx_source.config import OrgxConfig
    from orgx_source.report import RunReport

EXIT_CODES = """
Exit codes: 0 fine, 1 failed (some table), 2 usage, 3 configuration or credentials, 4 incomplete or stale: try again
later.
"""

app = typer.Typer(
    name="orgx-sync",
    help="OrgX into a warehouse, with dlt: complete reads that say how sure they are.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


AGE_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
DEMO_DATABASE = Path("orgx_demo.duckdb")
DEFAULT_REPORT = Path("orgx_report.html")


class Size(StrEnum):
    """Sizes of the sandbox's organisation."""

    small = "small"
    medium = "medium"
    large = "large"


class FileFormat(StrEnum):
    """What an export writes."""

    parquet = "parquet"
    csv = "csv"


def _known_tables(names: list[str] | None) -> list[str] | None:
    for name in names or ():
        if name not in TABLES:
            raise typer.BadParameter(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    return names


def _parse_age(text: str) -> timedelta:
    number, unit = (text[:-1], text[-1]) if text[-1:] in AGE_UNITS else (text, "h")
    return timedelta(**{AGE_UNITS[unit]: float(number)})


def _known_age(text: str) -> str:
    try:
        if _parse_age(text) >= timedelta(0):
            return text
    except (ValueError, OverflowError):
        pass
    raise typer.BadParameter(f"{text!r} is no time; write 90m, 26h or 2d (hours when no unit is given)")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orgx-sync {__version__}")
        raise typer.Exit


TableOption = Annotated[
    list[str] | None,
    typer.Option("--table", metavar="NAME", help="Only this table; may be given often.", callback=_known_tables),
]
DestinationOption = Annotated[str, typer.Option(metavar="NAME", help="A dlt destination.")]
DatasetOption = Annotated[str, typer.Option(metavar="NAME", help="Dataset (schema) of the tables.")]
DatabaseOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="DuckDB file.", show_default="orgx.duckdb", dir_okay=False)
]
WorkspaceOption = Annotated[str | None, typer.Option(metavar="ID", help="Only this workspace.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Log each retry, wait and route to stderr.")]


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def run(
    table: TableOption = None,
    destination: DestinationOption = "duckdb",
    dataset: DatasetOption = "orgx",
    database: DatabaseOption = None,
    full: Annotated[bool, typer.Option("--full", help="Read everything again.")] = False,
    workspace: WorkspaceOption = None,
    workers: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Pages asked for at the same time.")] = 8,
    max_wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Longest time to wait on rate limits and backoff.")
    ] = 900,
    max_requests: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Most requests to send.", show_default="no bound")
    ] = None,
    lock_timeout: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Longest time to wait for a DuckDB file that is open elsewhere."),
    ] = 60,
    publish: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Then put a copy of the DuckDB file here, at one stroke, for readers.", dir_okay=False
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Bring the warehouse up to date with OrgX."""
    _set_up_logging(verbose)
    if destination == "duckdb":
        # The drivers of some other destinations need it.
        without_unused()
    _check_publishing(publish, destination, dataset, database)
    config = _config(
        workspace_id=workspace,
        workers=workers,
        full=full,
        max_wait=max_wait,
        max_requests=max_requests,
        lock_timeout=lock_timeout,
    )
    from orgx_source import console
    from orgx_source.sync import make_pipeline, run_sync

    pipeline = make_pipeline(destination, dataset, database)
    with console.progress(quiet=quiet) as progress:
        report = run_sync(config, pipeline, tables=table, on_progress=progress.advance, on_wait=progress.wait)
    published = _publish(report, pipeline, publish, database, lock_timeout)
    if as_json:
        _print_json({**report.to_json(), "published": str(published) if published else None})
    elif not quiet:
        console.print_run(report)
        console.print_published(published)
        if report.exit_code == 0 and destination == "duckdb":
            console.print_next_step(database or DEFAULT_DATABASE, dataset)
    if (quiet or as_json) and report.exit_code:
        console.print_errors(report)
    raise typer.Exit(report.exit_code)


@app.command()
def check(
    table: TableOption = None,
    destination: DestinationOption = "duckdb",
    dataset: DatasetOption = "orgx",
    database: DatabaseOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Try the key, the routes and the destination."""
    _set_up_logging(verbose)
    config = _config(workspace_id=workspace)
    from orgx_source import console
    from orgx_source.check import run_check
    from orgx_source.sync import make_pipeline

    pipeline = make_pipeline(destination, dataset, database)
    no_file = _leaving_no_file(destination, database or DEFAULT_DATABASE)
    with no_file, console.progress(quiet=as_json) as progress:
        report = run_check(config, pipeline, tables=table, on_table=progress.looking_at)
    _print_json(report.to_json()) if as_json else console.print_check(report)
    raise typer.Exit(report.exit_code)


@app.command()
def plan(
    table: TableOption = None,
    destination: DestinationOption = "duckdb",
    dataset: DatasetOption = "orgx",
    database: DatabaseOption = None,
    full: Annotated[bool, typer.Option("--full", help="As if everything were read again.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show what a run would do: route, requests and rows per table; write nothing."""
    _set_up_logging(verbose)
    config = _config(workspace_id=workspace, full=full)
    from orgx_source import console
    from orgx_source.plan import run_plan
    from orgx_source.sync import make_pipeline

    pipeline = make_pipeline(destination, dataset, database)
    no_file = _leaving_no_file(destination, database or DEFAULT_DATABASE)
    with no_file, console.progress(quiet=as_json) as progress:
        report = run_plan(config, pipeline, tables=table, on_table=progress.looking_at)
    _print_json(report.to_json()) if as_json else console.print_plan(report)
    raise typer.Exit(report.exit_code)


@app.command()
def verify(
    table: TableOption = None,
    destination: DestinationOption = "duckdb",
    dataset: DatasetOption = "orgx",
    database: DatabaseOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Read OrgX whole and compare the warehouse with it, row for row; write nothing."""
    _set_up_logging(verbose)
    config = _config(workspace_id=workspace)
    from orgx_source import console
    from orgx_source.sync import make_pipeline
    from orgx_source.verify import run_verify

    _check_that_it_exists(destination, database or DEFAULT_DATABASE)
    with console.progress(quiet=as_json) as progress:
        report = run_verify(
            config, make_pipeline(destination, dataset, database), tables=table, on_table=progress.looking_at
        )
    _print_json(report.to_json()) if as_json else console.print_verify(report)
    raise typer.Exit(report.exit_code)


@app.command()
def status(
    destination: DestinationOption = "duckdb",
    dataset: DatasetOption = "orgx",
    database: DatabaseOption = None,
    max_age: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="A table that was read longer ago is stale (exit code 4): 90m, 26h, 2d.",
            callback=_known_age,
        ),
    ] = "36h",
    as_json: JsonOption = False,
) -> None:
    """Show what is in the warehouse and how old it is."""
    _set_up_logging(False)
    from orgx_source import console
    from orgx_source.status import read_file_status, read_status

    file, age = database or DEFAULT_DATABASE, _parse_age(max_age)
    _check_that_it_exists(destination, file)
    report = read_file_status(file, dataset, age) if destination == "duckdb" else None
    if report is None:
        from orgx_source.sync import make_pipeline

        report = read_status(make_pipeline(destination, dataset, database), age)
    _print_json(report.to_json()) if as_json else console.print_status(report)
    raise typer.Exit(report.exit_code)


@app.command()
def marts(
    destination: DestinationOption = "duckdb",
    dataset: DatasetOption = "orgx",
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the views that answer questions, in dataset NAME_marts; every run does so too."""
    _set_up_logging(False)
    from orgx_source import console
    from orgx_source.marts import load_marts
    from orgx_source.marts.apply import marts_dataset
    from orgx_source.sync import make_pipeline, renew_marts

    _check_that_it_exists(destination, database or DEFAULT_DATABASE)
    written = renew_marts(make_pipeline(destination, dataset, database))
    shown = [mart for mart in load_marts().values() if not mart.is_staging]
    if as_json:
        _print_json({"dataset": marts_dataset(dataset), "written": written, "marts": [mart.name for mart in shown]})
    else:
        console.print_marts(shown, marts_dataset(dataset), written=written)


@app.command()
def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where the files go: DIR/DATASET/TABLE.FORMAT.", file_okay=False)
    ],
    file_format: Annotated[FileFormat, typer.Option("--format", help="What the files are.")] = FileFormat.parquet,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", metavar="NAME", help="Only this table or view; may be given often."),
    ] = None,
    destination: DestinationOption = "duckdb",
    dataset: DatasetOption = "orgx",
    database: DatabaseOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write each table and view, those of the marts too, as a file."""
    _set_up_logging(False)
    from orgx_source import console
    from orgx_source.export import export_tables
    from orgx_source.sync import make_pipeline

    file = database or DEFAULT_DATABASE
    if destination == "duckdb" and not file.exists():
        raise ConfigError(f"{file} does not exist: orgx-sync run makes it, and --database names another file.")
    files = export_tables(make_pipeline(destination, dataset, database), directory, file_format.value, table)
    if as_json:
        _print_json({"format": file_format.value, "files": [exported.to_json() for exported in files]})
    elif not quiet:
        console.print_export(files)


@app.command()
def report(
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="HTML file to write; an older one is replaced.", dir_okay=False)
    ] = DEFAULT_REPORT,
    destination: DestinationOption = "duckdb",
    dataset: DatasetOption = "orgx",
    database: DatabaseOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write the marts as one HTML page, with pictures and tables, that any browser shows."""
    _set_up_logging(False)
    from orgx_source import console
    from orgx_source.html_report import write_report
    from orgx_source.sync import make_pipeline

    _check_that_it_exists(destination, database or DEFAULT_DATABASE)
    write_report(make_pipeline(destination, dataset, database), output)
    if not quiet:
        console.print_written(output)


@app.command()
def tables(
    name: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Show the columns of this table.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the tables, or the columns of one."""
    _known_tables([name] if name else None)
    from orgx_source import console

    if as_json:
        chosen = [TABLES[name]] if name else list(TABLES.values())
        _print_json({table.name: console.table_as_json(table) for table in chosen})
    elif name:
        console.print_table_columns(TABLES[name])
    else:
        console.print_tables()


@app.command()
def demo(
    database: Annotated[
        Path, typer.Option(metavar="FILE", help="DuckDB file to make; an older one is replaced.")
    ] = DEMO_DATABASE,
    size: Annotated[Size, typer.Option(help="Size of the made-up organisation.")] = Size.medium,
    days: Annotated[
        int, typer.Option(min=1, max=366, metavar="N", help="Days that pass there, with syncs between.")
    ] = 1,
    start: Annotated[
        datetime | None,
        typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="First day there.", show_default="N days ago"),
    ] = None,
) -> None:
    """Sync a made-up organisation; no account needed."""
    _set_up_logging(False)
    from orgx_source.demo import run_demo

    raise typer.Exit(run_demo(database, size.value, days, start))


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8700,
    size: Annotated[Size, typer.Option(help="Size of the made-up organisation.")] = Size.small,
    seed: Annotated[int, typer.Option(help="Another seed makes another organisation.")] = 7,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND[=VALUE][@PATH]", help="Switch on; 'list' shows all. May be given often."),
    ] = None,
    rate_limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Requests per hour, told in headers.", show_default="none")
    ] = None,
) -> None:
    """Serve a made-up OrgX on this machine."""
    from orgx_source.demo import serve_sandbox

    raise typer.Exit(serve_sandbox(port, size.value, seed, fault or [], rate_limit))


def _check_publishing(file: Path | None, destination: str, dataset: str, database: Path | None) -> None:
    if file is None:
        return
    if destination != "duckdb":
        raise typer.BadParameter("only a DuckDB file can be published", param_hint="--publish")
    from orgx_source.publish import problem_with

    if problem := problem_with(file, database or DEFAULT_DATABASE, dataset):
        raise typer.BadParameter(problem, param_hint="--publish")


def _publish(
    report: RunReport, pipeline: Any, file: Path | None, database: Path | None, patience_seconds: float
) -> Path | None:
    """Publish what a run has loaded; a failure is added to its report."""
    if file is None:
        return None
    from orgx_source.duckdb_file import LockPatience
    from orgx_source.publish import publish

    if report.error is not None:
        report.messages.append(f"{file} was not published, because the run failed.")
        return None
    try:
        publish(pipeline, database or DEFAULT_DATABASE, file, LockPatience(patience_seconds))
    except OrgxError as error:
        report.messages.append(str(error))
        report.exit_code = worst_exit_code(report.exit_code, error.exit_code)
        report.settle()
        return None
    return file


class _Stale(OrgxError):
    exit_code = 4


def _check_that_it_exists(destination: str, file: Path) -> None:
    if destination == "duckdb" and not file.exists():
        raise _Stale(f"{file} does not exist yet; orgx-sync run makes it")


@contextmanager
def _leaving_no_file(destination: str, file: Path) -> Iterator[None]:
    """Take a DuckDB file away again that only asking it has made."""
    fresh = destination == "duckdb" and not file.exists()
    try:
        yield
    finally:
        if fresh:
            file.unlink(missing_ok=True)


def _config(**given: Any) -> OrgxConfig:
    from orgx_source.config import load_config

    return load_config(**given)


def _set_up_logging(verbose: bool) -> None:
    """Send this package's log to stderr; never the HTTP library's, which names every address."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    log = logging.getLogger("orgx_source")
    log.handlers = [handler]
    log.setLevel(logging.INFO if verbose else logging.ERROR)
    log.propagate = False


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _leave(code: int) -> NoReturn:
    """Leave with a code even when the reader of stdout has gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stderr.flush()
    # Everything is written. Taking the interpreter apart object by object takes up to half a second more.
    atexit._run_exitfuncs()
    os._exit(code)


def main() -> NoReturn:
    """Run the command; every error that is ours is one sentence on stderr and an exit code."""
    settle_in()
    try:
        app(standalone_mode=True)
    except SystemExit as left:
        _leave(left.code if isinstance(left.code, int) else 0 if left.code is None else 1)
    except ConfigError as error:
        sys.stderr.write(f"orgx-sync: {error}\n")
        _leave(error.exit_code)
    except OrgxError as error:
        sys.stderr.write(f"orgx-sync: {error}\n")
        _leave(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("orgx-sync: interrupted; what was loaded stays, the next run goes on from there\n")
        _leave(130)
    _leave(0)


if __name__ == "__main__":
    main()
