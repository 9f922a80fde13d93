"""Console output: progress on stderr, results on stdout. No logic of its own.

rich writes colours and live lines only to a terminal, and follows ``NO_COLOR``.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table as Grid
from rich.text import Text as RichText

from orgx_source.tables import HISTORY_COLUMNS, OTHER_TABLES, TABLES
from orgx_source.texts import visible

if TYPE_CHECKING:
    from orgx_source.commands.check import CheckReport
    from orgx_source.commands.export import ExportedFile
    from orgx_source.commands.plan import PlanReport
    from orgx_source.commands.status import StatusReport
    from orgx_source.commands.verify import VerifyReport
    from orgx_source.marts import Mart
    from orgx_source.reading.report import RunReport, TableReport
    from orgx_source.warehouse.target import Target

PLAIN_LINE_SECONDS = 5.0
STATUS_STYLES = {"ok": "green", "incomplete": "yellow"}
VERDICT_STYLES = {"certified": "green", "repaired": "green", "uncertified": "yellow"}

# Output to a file has no width, so nothing is truncated there.
PLAIN_WIDTH = 160
# Below this width, each row takes two lines.
NARROW = 76
NAME_WIDTH = max(map(len, (*TABLES, *OTHER_TABLES)))


class _VisibleConsole(Console):
    """Escapes control characters in the text it prints; only rich's own reach the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the rendered segments."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text, keep_lines=True), style, control)  # guard: visible-output


class Text(RichText):
    """A line to print, with line feeds in OrgX's text escaped."""

    def __init__(self, text: str, style: str = "") -> None:
        super().__init__(visible(text), style)


def _console(*, stderr: bool) -> Console:
    console = _VisibleConsole(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


out = _console(stderr=False)
err = _console(stderr=True)


class RunProgress:
    """Shows the progress of a run; thread-safe."""

    def __init__(self, live: Progress | None, *, quiet: bool) -> None:
        self._live = live
        self._quiet = quiet
        self._lock = threading.Lock()
        self._tasks: dict[str, Any] = {}
        self._counts: dict[str, tuple[int, int]] = {}
        self._said_at = time.monotonic()
        self._told, self._told_at = "", 0.0

    def advance(self, table: str, requests: int, rows: int) -> None:
        """Update the progress of a table."""
        with self._lock:
            self._counts[table] = (requests, rows)
            if self._live is not None:
                if table not in self._tasks:
                    self._tasks[table] = self._live.add_task(table, total=None, detail="")
                detail = f"{rows:>9,} rows  {requests:>5,} requests"
                self._live.update(self._tasks[table], detail=detail)
            elif not self._quiet and time.monotonic() - self._said_at >= PLAIN_LINE_SECONDS:
                self._said_at = time.monotonic()
                parts = (f"{name} {rows:,}" for name, (_, rows) in self._counts.items())
                err.print(f"rows read so far: {', '.join(parts)}")

    def wait(self, seconds: float, why: str) -> None:
        """Report that the run is waiting; the same reason at most every `PLAIN_LINE_SECONDS`."""
        with self._lock:
            now = time.monotonic()
            if self._quiet or (why == self._told and now - self._told_at < PLAIN_LINE_SECONDS):
                return
            self._told, self._told_at = why, now
            if self._live is not None:
                self._live.console.print(Text(f"waiting {seconds:.1f} s: {why}", "yellow"))
            else:
                err.print(Text(f"waiting {seconds:.1f} s: {why}"))

    def looking_at(self, table: str) -> None:
        """Show which table is being checked."""
        if self._live is not None:
            with self._lock:
                if "check" not in self._tasks:
                    self._tasks["check"] = self._live.add_task("querying OrgX", total=None, detail="")
                self._live.update(self._tasks["check"], detail=table)


@contextmanager
def progress(*, quiet: bool) -> Iterator[RunProgress]:
    """Show progress on stderr: live lines on a terminal, plain ones elsewhere."""
    if quiet or not err.is_terminal:
        yield RunProgress(None, quiet=quiet)
        return
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn(f"{{task.description:<{NAME_WIDTH}}}"),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as live:
        yield RunProgress(live, quiet=False)


# -- run -----------------------------------------------------------------------------------------------------------


def print_run(report: RunReport, console: Console = out, *, seconds: float | None = None) -> None:
    """Print the result of a run, one row per table."""
    if report.tables and console.width < NARROW:
        for name, table in report.tables.items():
            numbers = f"{_number(table.rows_read)} read, {table.rows_new:,} new, {table.rows_changed:,} changed, "
            numbers += f"{table.rows_deleted:,} deleted"
            _print_in_two_lines(console, name, table.rows_in_warehouse, _outcome(table), numbers)
    elif report.tables:
        console.print(_run_grid(report, is_wide=console.width >= 100))
    for line in _remarks(report):
        console.print(line)
    if seconds is None:
        seconds = (report.finished_at - report.started_at).total_seconds() if report.finished_at else 0.0
    waited = f", {report.waited_seconds:.0f} s of it waiting" if report.waited_seconds >= 1 else ""
    retries = f" ({report.retries} retries)" if report.retries else ""
    style = STATUS_STYLES.get(report.status, "red")
    console.print(f"[{style}]{report.status}[/]: {_requests(report.requests)}{retries} in {seconds:.1f} s{waited}")


def _run_grid(report: RunReport, *, is_wide: bool) -> Grid:
    """Return one row per table; a narrow one has no seconds, to make room for seven-digit numbers."""
    columns = RUN_COLUMNS if is_wide else RUN_COLUMNS[:-1]
    grid = _grid(
        ("\ntable", "left"), *((name, "right") for name in columns), ("\nverdict", "left"), gap=2 if is_wide else 1
    )
    for name, table in report.tables.items():
        grid.add_row(
            name,
            _number(table.rows_read),
            _changed(table.rows_new),
            _changed(table.rows_changed),
            _changed(table.rows_deleted),
            _number(table.rows_in_warehouse),
            _number(table.requests),
            *([f"{table.seconds:.1f}"] if is_wide else []),
            _outcome(table),
        )
    return grid


def _outcome(table: TableReport) -> Text:
    """Return a table's verdict; an interrupted read is incomplete: its rows are kept and the next run continues."""
    if table.error and table.exit_code == 4:
        return Text("incomplete", "yellow")
    if table.verdict == "uncertified" and not table.exit_code:
        # A permanent limit of the route, reported by every run: no warning colour.
        return Text(table.verdict)
    return _verdict(table.verdict, table.error, table.note)


def _print_in_two_lines(console: Console, name: str, rows: int | None, verdict: Text, numbers: str) -> None:
    unit = "row " if rows == 1 else "rows"
    console.print(RichText.assemble((f"{name:<{NAME_WIDTH}}", "bold"), f"{_number(rows):>11} {unit}  ", verdict))
    console.print(Text(f"  {numbers}", "dim"))


# Two-line headers keep the table within 80 characters.
RUN_COLUMNS = ("rows\nread", "\nnew", "\nchanged", "\ndeleted", "in\nwarehouse", "\nrequests", "\nseconds")


def print_errors(report: RunReport) -> None:
    """Print errors and warnings to stderr; omit those of certified tables, such as a fallback route."""
    for line in _remarks(report, only_trouble=True):
        err.print(line)


def print_published(file: Path | None) -> None:
    """Print the path of the published copy, if there is one."""
    if file is not None:
        out.print(Text(f"Published to {file}"))


def print_next_step(target: Target, tables: Collection[str]) -> None:
    """Print a first query to try, of one of these tables."""
    table = next((name for name in ("initiatives", *tables) if name in tables and TABLES[name].column("status")), None)
    if table is None:
        return
    query = f"select status, count(*) from {table} where deleted_at is null group by 1"
    given = (("--database", str(target.database), "orgx.duckdb"), ("--dataset", target.dataset, "orgx"))
    where = "".join(f" {option} {shlex.quote(value)}" for option, value, default in given if value != default)
    out.print()
    out.print(Text(f'Next: orgx-sync query{where} "{query}"', "bold"))


def _remarks(report: RunReport, *, only_trouble: bool = False) -> Iterator[Text]:
    for message in report.messages:
        yield Text(f"note: {message}", "yellow")
    # One line for an error that stopped several tables.
    stopped: dict[str, list[str]] = {}
    for name, table in report.tables.items():
        if table.error:
            stopped.setdefault(table.error, []).append(name)
        if not (only_trouble and table.verdict == "certified"):
            yield from _doubts(name, table)
    for error, names in stopped.items():
        yield _error_of(", ".join(names), error)
    if report.error:
        yield Text(report.error, "red")


def _error_of(name: str, error: str) -> Text:
    return Text(error if error.startswith(f"{name}:") else f"{name}: {error}", "red")


def _doubts(name: str, table: TableReport) -> Iterator[Text]:
    if table.note:
        yield Text(f"{name}: {table.note}", "dim")
    elif table.closed_routes and not table.error:
        yield Text(f"{name}: read from {table.route}; closed routes: {', '.join(table.closed_routes)}", "yellow")
    for reason in table.reasons:
        yield Text(f"{name}: {reason}", "yellow" if table.exit_code else "dim")


# -- check ---------------------------------------------------------------------------------------------------------


def print_check(report: CheckReport) -> None:
    """Print the results for the routes and the destination."""
    if report.workspace:
        out.print(Text(f"key: accepted, workspace {report.workspace}"))
    grid = _grid(("table", "left"), ("rows", "right"), ("total", "left"), ("order", "left"), ("route", "left"))
    for name, table in report.tables.items():
        styles = {"proven": "green", "given": "green", "ignored": "yellow", "doubtful": "yellow"}
        order, total = (
            Text(table.order, styles.get(table.order, "dim")),
            Text(table.total, styles.get(table.total, "dim")),
        )
        route = Text(table.route or "no open route", "" if table.route else "red" if table.error else "dim")
        grid.add_row(name, _number(table.rows), total, order, route)
    if report.tables:
        out.print(grid)
    for name, table in report.tables.items():
        if table.closed and (table.route or table.error):
            out.print(Text(f"{name}: closed to this key: {', '.join(table.closed)}", "yellow"))
        if table.note:
            out.print(Text(f"{name}: {table.note}", "yellow"))
        if table.error:
            out.print(_error_of(name, table.error))
    if report.remaining is not None:
        until = f", resets at {datetime.fromtimestamp(report.reset_at, UTC):%H:%M} UTC" if report.reset_at else ""
        of_limit = f" of {report.limit}" if report.limit is not None else ""
        out.print(f"rate limit: {report.remaining}{of_limit} requests left{until}")
    else:
        out.print("rate limit: not reported by OrgX")
    if report.destination_error:
        out.print(Text(f"destination: {report.destination}: {report.destination_error}", "red"))
    else:
        out.print(f"destination: {report.destination}: writable")
    if report.error:
        out.print(Text(report.error, "red"))
    out.print(f"{_requests(report.requests)} sent", style="dim")


# -- plan and verify -----------------------------------------------------------------------------------------------


def print_plan(report: PlanReport) -> None:
    """Print what a run would do; on a narrow terminal, routes and reasons have lines of their own."""
    if out.width < NARROW:
        _print_narrow_plan(report)
    elif report.tables:
        out.print(_plan_grid(report))
    for name, table in report.tables.items():
        if table.closed and (table.route or table.error):
            out.print(Text(f"{name}: closed to this key: {', '.join(table.closed)}", "yellow"))
        if table.error:
            out.print(_error_of(name, table.error))
    if report.error:
        out.print(Text(report.error, "red"))
        return
    vague = any(table.at_least or table.requests is None for table in report.tables.values())
    out.print(f"orgx-sync run would send {'at least' if vague else 'about'} {_requests(report.requests)}")
    out.print(f"{_requests(report.asked)} sent for this plan; nothing was written", style="dim")


def _print_narrow_plan(report: PlanReport) -> None:
    for name, table in report.tables.items():
        more = "+" if table.at_least else ""
        rows = "? rows" if table.rows is None else f"{table.rows:,}{more} rows"
        requests = "? requests" if table.requests is None else _requests(table.requests).replace(" ", f"{more} ", 1)
        out.print(Text(f"{name}: {table.mode or '-'}, {rows}, {requests}"))
        for part in (table.route or "no open route", table.because):
            if part:
                out.print(Padding(Text(part, "dim"), (0, 0, 0, 2)), soft_wrap=False)


def _plan_grid(report: PlanReport) -> Grid:
    grid = _grid(
        ("table", "left"), ("reads", "left"), ("rows", "right"), ("requests", "right"), ("route", "left"),
        ("reason", "left"),
    )  # fmt: skip
    for name, table in report.tables.items():
        more = "+" if table.at_least else ""
        grid.add_row(
            name,
            table.mode or "-",
            "?" if table.rows is None else f"{table.rows:,}{more}",
            "?" if table.requests is None else f"{table.requests:,}{more}",
            Text(table.route or "no open route", "" if table.route else "red" if table.error else "dim"),
            table.because or "-",
        )
    return grid


def print_verify(report: VerifyReport) -> None:
    """Print what differs between OrgX and the warehouse."""
    grid = _grid(
        ("\ntable", "left"), ("rows in\nOrgX", "right"), ("in\nwarehouse", "right"), ("\nmissing", "right"),
        ("\nextra", "right"), ("\ndifferent", "right"), ("\nrequests", "right"), ("\nread", "left"),
    )  # fmt: skip
    for name, table in report.tables.items():
        grid.add_row(
            name,
            _number(table.rows_at_orgx),
            _number(table.rows_in_warehouse),
            _changed(table.missing),
            _changed(table.extra),
            _changed(table.different),
            _number(table.requests),
            _verdict(table.verdict, table.error),
        )
    if report.tables:
        out.print(grid)
    for name, table in report.tables.items():
        for example in table.examples:
            columns = f" in {', '.join(example.columns)}" if example.columns else ""
            out.print(Text(f"{name}: {example.id} is {example.problem}{columns}", "yellow"))
        if table.newer:
            out.print(f"{name}: {table.newer} of these changed in OrgX after the last run; orgx-sync run loads them")
        for reason in table.reasons:
            out.print(Text(f"{name}: {reason}", "yellow"))
        if table.error:
            out.print(_error_of(name, table.error))
    if report.error:
        out.print(Text(report.error, "red"))
        return
    count = sum(table.missing + table.extra + table.different for table in report.tables.values())
    unsure = [name for name, table in report.tables.items() if table.verdict == "uncertified"]
    if not report.exit_code and unsure:
        out.print(f"[yellow]no differences[/] in the rows read; completeness is uncertain for {', '.join(unsure)}")
    elif not report.exit_code:
        out.print(f"[green]equal[/]: the warehouse matches OrgX ({_requests(report.requests)})")
    elif count:
        rows = "1 row differs" if count == 1 else f"{count:,} rows differ"
        out.print(f"[red]different[/]: {rows} ({_requests(report.requests)}); orgx-sync run --full repairs this")


# -- status and tables ---------------------------------------------------------------------------------------------


def print_status(report: StatusReport, *, with_routes: bool = False) -> None:
    """Print the state of the warehouse.

    Args:
        report: The state to print.
        with_routes: Whether to print the route of each table.
    """
    if report.tables and out.width < NARROW:
        for name, table in report.tables.items():
            numbers = f"{table.deleted or 0:,} deleted, read {_ago(table.last_read)}"
            _print_in_two_lines(out, name, table.rows, _verdict(table.verdict, table.error, table.note), numbers)
    elif report.tables:
        out.print(_status_grid(report, with_routes=with_routes))
    for name, table in report.tables.items():
        if table.error:
            out.print(_error_of(name, table.error))
        elif table.note:
            out.print(Text(f"{name}: {table.note}", "dim"))
    if report.runs:
        out.print("\n[bold]Last runs (UTC)[/]")
        for run in report.runs if out.width < NARROW else ():
            changes = f"{run.rows_new:,} new, {run.rows_changed:,} changed, {run.rows_deleted:,} deleted"
            style = STATUS_STYLES.get(run.status, "red")
            out.print(RichText.assemble(f"{run.started_at.astimezone(UTC):%m-%d %H:%M}  ", (run.status, style)))
            out.print(Text(f"  {_number(run.requests)} requests, {changes}", "dim"))
        if out.width >= NARROW:
            out.print(_runs_grid(report))
    for line in _runs_remarks(report):
        out.print(line)
    if report.stale:
        out.print(f"stale: {', '.join(report.stale)}; orgx-sync run updates them", style="yellow")


def _status_grid(report: StatusReport, *, with_routes: bool) -> Grid:
    columns = [
        ("table", "left"), ("rows", "right"), ("deleted", "right"), ("last change", "left"), ("last read", "left"),
        ("full read", "left"), ("verdict", "left"), ("route", "left"),
    ]  # fmt: skip
    grid = _grid(*(columns if with_routes else columns[:-1]), gap=1 if out.width < 100 else 2)
    for name, table in report.tables.items():
        cells: list[RenderableType] = [
            name,
            _number(table.rows),
            _changed(table.deleted or 0),
            _ago(table.last_change),
            Text(_ago(table.last_read), "yellow" if name in report.stale else ""),
            _ago(table.last_whole_read),
            _verdict(table.verdict, table.error, table.note),
            table.route or "-",
        ]
        grid.add_row(*(cells if with_routes else cells[:-1]))
    return grid


def _runs_grid(report: StatusReport) -> Grid:
    grid = _grid(
        ("started", "left"), ("seconds", "right"), ("requests", "right"), ("new", "right"), ("changed", "right"),
        ("deleted", "right"), ("status", "left"), gap=1 if out.width < 100 else 2,
    )  # fmt: skip
    for run in report.runs:
        seconds = (run.finished_at - run.started_at).total_seconds() if run.finished_at else None
        grid.add_row(
            f"{run.started_at.astimezone(UTC):%Y-%m-%d %H:%M}",
            "-" if seconds is None else f"{seconds:.1f}",
            _number(run.requests),
            _changed(run.rows_new),
            _changed(run.rows_changed),
            _changed(run.rows_deleted),
            Text(run.status, STATUS_STYLES.get(run.status, "red")),
        )
    return grid


def _runs_remarks(report: StatusReport) -> Iterator[Text]:
    """Return a line for each list of tables that one or more runs, newest first, did not certify or read."""
    started: dict[tuple[str, str], list[datetime]] = {}
    for run in report.runs:
        for what, names in (("uncertified", run.doubtful), ("failed", run.failed)):
            if names:
                started.setdefault((what, ", ".join(names)), []).append(run.started_at.astimezone(UTC))
    for (what, listed), (newest, *others) in started.items():
        more = "" if not others else " and 1 earlier run" if len(others) == 1 else f" and {len(others)} earlier runs"
        yield Text(f"{newest:%Y-%m-%d %H:%M}{more}: {what}: {listed}", "yellow")


def _verdict(verdict: str | None, error: str | None, note: str | None = None) -> Text:
    word = "failed" if error else "not open" if note else verdict or "-"
    return Text(word, VERDICT_STYLES.get(word, "red" if error else ""))


def print_marts(marts: Sequence[Mart], dataset: str, *, written: bool) -> None:
    """Print the views, and whether they were recreated."""
    grid = _grid(("view", "left"), ("one row per", "left"), ("description", "left"))
    for mart in marts:
        grid.add_row(f"{dataset}.{mart.name}", mart.grain, mart.summary)
    out.print(grid)
    out.print("Created." if written else "All views are current; nothing was written.")


def print_export(files: Sequence[ExportedFile]) -> None:
    """Print the files written."""
    grid = _grid(("file", "left"), ("rows", "right"))
    for file in files:
        grid.add_row(str(file.path), _number(file.rows))
    out.print(grid)


def print_written(page: Path) -> None:
    """Print the path of the report."""
    out.print(Text(f"Report written to {page}; open it in a browser"))


def print_tables() -> None:
    """Print the tables and the marts, one line each."""
    from orgx_source.marts import load_marts

    grid = _grid(("table", "left"), ("key", "left"), ("columns", "right"), ("description", "left"))
    for table in TABLES.values():
        grid.add_row(table.name, table.key, str(len(table.columns)), table.description)
    for name, (description, columns) in OTHER_TABLES.items():
        grid.add_row(name, "", str(len(columns)), description)
    out.print(grid)
    out.print("\nMarts, which are views of these tables, in a dataset of their own (orgx_marts):\n")
    grid = _grid(("mart", "left"), ("description", "left"))
    for mart in load_marts().values():
        if not mart.is_staging:
            grid.add_row(mart.name, f"{mart.summary}.")
    out.print(grid)


def print_table_columns(name: str) -> None:
    """Print the columns of a table or a mart."""
    found = describe_table(name)
    out.print(f"[bold]{name}[/]: {found['description']}")
    shown = [title for title in ("name", "type", "description") if any(title in each for each in found["columns"])]
    grid = _grid(*(("column" if title == "name" else title, "left") for title in shown))
    for column in found["columns"]:
        grid.add_row(*(column[title] for title in shown))
    out.print(grid)


def describe_table(name: str) -> dict[str, Any]:
    """Return what ``tables --json`` prints about a table, a history, another table of the dataset or a mart."""
    from orgx_source.marts import load_marts

    if mart := load_marts().get(name):
        listed = [{"name": column, "description": text} for column, text in mart.columns.items()]
        return {"description": mart.description, "grain": mart.grain, "key": list(mart.key), "columns": listed}
    key = None
    if name in OTHER_TABLES:
        description, columns = OTHER_TABLES[name]
    elif name in TABLES:
        table = TABLES[name]
        description, key, columns = table.description, table.key, table.stored_columns
    else:
        table = TABLES[name.removesuffix("_history")]
        description, columns = f"One row per version of each row of {table.name}.", (*table.columns, *HISTORY_COLUMNS)
    described = [{"name": each.name, "type": each.type, "description": each.description} for each in columns]
    return {"description": description, **({"key": key} if key else {}), "columns": described}


# -- the live demonstration ----------------------------------------------------------------------------------------

EVENTS_SHOWN = 8


class EventBoard:
    """Shows open decisions and loaded events: redrawn in place on a terminal, otherwise one line per event.

    Attributes:
        lags: Seconds from each event's creation to its load.
    """

    def __init__(self, until: float, *, in_place: bool) -> None:
        """Create an empty board.

        Args:
            until: Time of `time.monotonic` at which the events end.
            in_place: Whether the board is redrawn in place; if so, no lines are printed.
        """
        self.lags: list[float] = []
        self._until = until
        self._in_place = in_place
        self._queue: Sequence[tuple[Any, ...]] = ()
        self._latest: deque[tuple[Any, ...]] = deque(maxlen=EVENTS_SHOWN)

    def show(self, queue: Sequence[tuple[Any, ...]], events: Sequence[tuple[Any, ...]]) -> None:
        """Show the current content of the warehouse.

        Args:
            queue: Urgency, title, asker and time of the newest open decisions, and the number of all open ones.
            events: Time, type, lag in seconds and row name of each event not shown yet.
        """
        self._queue = queue
        self._latest.extendleft(events)
        self.lags += [lag for _, _, lag, _ in events]
        for created_at, kind, lag, about in () if self._in_place else events:
            out.print(Text(f"{_clock(created_at)}  {kind}  {about or '-'}  in the warehouse after {lag:.1f} s"))

    def draw(self) -> RenderableType:
        """Return the whole board."""
        left = max(0.0, self._until - time.monotonic())
        return Group(self.queue(), RichText(), self._events(), RichText(f"\n{self.summary()}; {left:.0f} s left"))

    def queue(self) -> RenderableType:
        """Return the open decisions."""
        grid = _fixed_grid(("urgency", 8), ("decision", None), ("asked by", 16), ("asked", 10))
        for urgency, title, asked_by, asked_at, _ in self._queue:
            grid.add_row(urgency, Text(title or "-"), Text(asked_by or "-"), _ago(asked_at))
        waiting = f"{self._queue[0][-1]:,} waiting, the newest" if self._queue else "none waiting"
        return Group(RichText(f"Decisions: {waiting}", "bold"), grid)

    def _events(self) -> RenderableType:
        grid = _fixed_grid(("event", 18), ("row", None), ("created", 8), ("in warehouse", 12))
        for created_at, kind, lag, about in self._latest:
            grid.add_row(Text(kind), Text(about or "-"), _clock(created_at), f"after {lag:.1f} s")
        return grid

    def summary(self) -> str:
        """Return the number of events and their lags."""
        count = "1 event" if len(self.lags) == 1 else f"{len(self.lags):,} events"
        return f"{count}, {_lags(self.lags)}" if self.lags else count


def _lags(lags: Sequence[float]) -> str:
    return f"from event to row: median {median(lags):.1f} s, worst {max(lags):.1f} s"


def _clock(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment.astimezone(UTC):%H:%M:%S}"


def _fixed_grid(*columns: tuple[str, int | None]) -> Grid:
    """Return a grid of fixed width, so that columns do not move when rows arrive."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), width=min(out.width, 100))
    for name, width in columns:
        grid.add_column(name, width=width, ratio=None if width else 1, no_wrap=True, overflow="ellipsis")
    return grid


@contextmanager
def event_board(until: float) -> Iterator[EventBoard]:
    """Show events until `until` (`time.monotonic`)."""
    board = EventBoard(until, in_place=out.is_terminal)
    if not out.is_terminal:
        yield board
        return
    with Live(get_renderable=board.draw, console=out, transient=True):
        yield board


def print_events(board: EventBoard, requests: int) -> None:
    """Print the final state when the events end."""
    out.print(board.queue())
    out.print(f"\n{board.summary()}; {_requests(requests)} to OrgX")


# -- pieces --------------------------------------------------------------------------------------------------------


def print_answer(columns: Sequence[str], rows: Iterator[tuple[Any, ...]], *, limit: int) -> None:
    """Print the first rows of a query result and the row count.

    Args:
        columns: Column names.
        rows: All rows.
        limit: Maximum number of rows to print.
    """
    shown = list(islice(rows, limit))
    cells = [[_cell(value) for value in row] for row in shown]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    if sum(widths) + 2 * len(widths) - 2 > out.width:
        _print_one_by_one(columns, cells)
    elif columns:
        numeric = [
            all(isinstance(row[i], int | float | Decimal | None) for row in shown) for i, _ in enumerate(columns)
        ]
        grid = _grid(*((name, "right" if right else "left") for name, right in zip(columns, numeric, strict=True)))
        for row in cells:
            grid.add_row(*map(Text, row))
        out.print(grid)
    more = sum(1 for _ in rows)
    count = "1 row" if len(shown) == 1 else f"{len(shown):,} rows"
    rest = f" of {len(shown) + more:,}; --limit N shows more, --format csv and json show all" if more else ""
    out.print(f"{count}{rest}", style="dim")


def _print_one_by_one(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows that are too wide for one line as blocks, without truncation."""
    width = max(map(len, columns), default=0)
    for row in rows:
        for name, value in zip(columns, row, strict=True):
            out.print(RichText.assemble((f"{visible(name):<{width}}  ", "bold"), visible(value)))
        out.print()


def _cell(value: Any) -> str:
    from orgx_source.commands.query import as_text

    return "-" if value is None else as_text(value)


def print_result(title: str, sql: str, columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Print a query and its result."""
    out.print(f"\n[bold]{title}[/]")
    out.print(RichText(sql, "dim"))
    found = list(rows)
    numeric = [all(isinstance(row[i], int | float) for row in found) for i, _ in enumerate(columns)]
    grid = _grid(*((name, "right" if right else "left") for name, right in zip(columns, numeric, strict=True)))
    for row in found:
        grid.add_row(*("-" if value is None else str(value) for value in row))
    out.print(grid)


def _grid(*columns: tuple[str, Any], gap: int = 2) -> Grid:
    # The box adds one space between columns.
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, gap - 1, 0, 0))
    for number, (name, justify) in enumerate(columns):
        is_whole = number == 0 or justify == "right"
        # What is too long for its column is continued below, never cut.
        grid.add_column(name, justify=justify, no_wrap=is_whole, overflow="fold")
    return grid


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count:,} requests"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _changed(value: int) -> Text:
    return Text(f"{value:,}", "bold" if value else "dim")


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "-"
    seconds = (datetime.now(UTC) - moment.astimezone(UTC)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"
