"""The cases: what is read, by which contender, how often. Contenders alternate, so that a slow minute affects all."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import duckdb
import orjson
import pyarrow.parquet as pq

from benchmarks.contenders import KEY, OURS, Contender, dlt_rest_api, floor, ours
from benchmarks.events import LISTENER, QUIET_RUN, event_lags
from benchmarks.floor import as_table
from benchmarks.measure import Figures, RunFailedError, page_server, run
from benchmarks.nights import COMMANDS, ONE_PROCESS, nights_as_commands, nights_in_one_process
from benchmarks.page_server import make_rows
from orgx_source.sandbox import Sandbox, World

Tell = Callable[[str], None]
SERIAL = "without latency"


@dataclass(frozen=True)
class Sizes:
    """The amounts to read.

    Attributes:
        a, b, c: Rows of the three lists.
        latency: Seconds before each response of the second list.
        organisation: Size of the sandbox's organisation.
        rounds: Runs of each contender.
        rounds_slow: Runs of each peer on the longest list, which take minutes each.
        events: Events sent to the listener.
        nights: Nights in one process.
        nights_as_commands: Nights as commands; each starts a process.
    """

    a: int = 100_000
    b: int = 20_000
    c: int = 1_000_000
    latency: float = 0.05
    organisation: str = "medium"
    rounds: int = 5
    rounds_slow: int = 1
    events: int = 200
    nights: int = 200
    nights_as_commands: int = 200


TINY = Sizes(a=300, b=200, c=400, organisation="small", rounds=1, events=4, nights=3, nights_as_commands=2)


def first_loads(
    rows: int, latency: float, contenders: Sequence[Contender], rounds: Sequence[int], tell: Tell
) -> dict[str, Figures]:
    """Load a list of tasks into a new file, with alternating contenders; check that every row is there."""
    figures = {contender.name: Figures([], [], []) for contender in contenders}
    with page_server(rows, latency) as url, _place() as shared:
        given = shared / "rows.parquet"
        if any(contender.is_given_rows for contender in contenders):
            write_rows(given, rows)
        for number in range(max(rounds)):
            for contender, wanted in zip(contenders, rounds, strict=True):
                if number < wanted and not figures[contender.name].failed:
                    with _place() as place:
                        _measure(contender, url, place, figures[contender.name], rows, given)
                    tell(_line(contender.name, figures[contender.name]))
    return figures


def later_loads(sizes: Sizes, tell: Tell) -> tuple[dict[str, Figures], dict[str, Figures]]:
    """Read an organisation again: without changes, and with 1 % of the rows changed."""
    # The same nine tables.
    same = {**ours().environment, "ORGX_OPTIONAL_TABLES": "none"}
    contenders = [replace(ours(), environment=same), dlt_rest_api("--organisation")]
    quiet, changed = ({contender.name: Figures([], [], []) for contender in contenders} for _ in range(2))
    with Sandbox(World(sizes.organisation)) as box, _place() as first, _place() as second:
        places = dict(zip((contender.name for contender in contenders), (first, second), strict=True))
        for contender in contenders:
            _prepare(contender, box.url, places[contender.name])
        for _ in range(sizes.rounds):
            for figures, change in ((quiet, False), (changed, True)):
                if change:
                    _change_a_hundredth(box)
                for contender in contenders:
                    box.forget()
                    _measure(contender, box.url, places[contender.name], figures[contender.name])
                    figures[contender.name].requests.append(box.count())
                    tell(_line(f"{contender.name}, {'1 % changed' if change else 'quiet'}", figures[contender.name]))
            _check_quiet(places[OURS])
    return quiet, changed


def starts(sizes: Sizes, tell: Tell) -> dict[str, Figures]:
    """Start the command, and what bounds its start time from below."""
    command = str(Path(sys.executable).with_name("orgx-sync"))
    commands = {
        "orgx-sync --help": [command, "--help"],
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        "orgx-sync status": [command, "status", "--database", "{database}"],
        "python -c 'import duckdb'": [sys.executable, "-c", "import duckdb"],
    }
    figures = {name: Figures([], [], []) for name in commands}
    with Sandbox(World("small")) as box, _place() as place:
        _prepare(ours(), box.url, place)
        for _ in range(sizes.rounds):
            for name, parts in commands.items():
                contender = Contender(name, tuple(parts), ())
                _measure(contender, box.url, place, figures[name])
                tell(_line(name, figures[name]))
    return figures


def event_case(sizes: Sizes, tell: Tell) -> dict[str, Figures]:
    """Send events to a listener: the time from each event to its row, and the cost of a run instead."""
    quiet = Figures([], [], [])
    with Sandbox(World(sizes.organisation)) as box, _place() as place:
        _prepare(ours(), box.url, place)
        for _ in range(sizes.rounds):
            box.forget()
            _measure(ours(), box.url, place, quiet)
            quiet.requests.append(box.count())
        tell(_line(QUIET_RUN, quiet))
        box.forget()
        lags = event_lags(box, place, sizes.events, tell)
        lags.requests.append(box.count())
        return {LISTENER: lags, QUIET_RUN: quiet}


def nights_case(sizes: Sizes, tell: Tell) -> dict[str, Figures]:
    """Simulate nights, each way on a small organisation and in its own folder."""
    figures = {}
    ways = (
        (ONE_PROCESS, nights_in_one_process, sizes.nights),
        (COMMANDS, nights_as_commands, sizes.nights_as_commands),
    )
    for name, run_nights, count in ways:
        with Sandbox(World("small")) as box, _place() as place:
            figures[name] = run_nights(box, place, count, tell)
            _check_versions(place, count)
    return figures


def _check_versions(place: Path, nights: int) -> None:
    """Check that each night after the first added versions: a night that loads nothing cannot grow anything."""
    with duckdb.connect(str(place / "bench.duckdb"), read_only=True) as connection:
        sql = "select count(distinct valid_from) from orgx.tasks_history"
        found = connection.execute(sql).fetchall()[0][0]
    if found != nights:
        raise RunFailedError(f"{found} of {nights} nights added versions")


def latency_case(sizes: Sizes, peers: Sequence[Contender], tell: Tell) -> dict[str, Figures]:
    """Load the second list, and with this project also without latency: the rest is time on the wire."""
    contenders = [ours("--table", "tasks"), *peers]
    figures = first_loads(sizes.b, sizes.latency, contenders, [sizes.rounds] * len(contenders), tell)
    without = first_loads(sizes.b, 0.0, contenders[:1], [sizes.rounds], tell)
    return {**figures, f"{OURS}, {SERIAL}": without[OURS]}


def long_case(sizes: Sizes, peers: Sequence[Contender], tell: Tell) -> dict[str, Figures]:
    """Load the third list: time should grow only with the rows, and memory not at all."""
    contenders = [ours("--table", "tasks"), floor(), *peers]
    rounds = [sizes.rounds, sizes.rounds, *[sizes.rounds_slow] * len(peers)]
    return first_loads(sizes.c, 0.0, contenders, rounds, tell)


@contextmanager
def _place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def _measure(
    contender: Contender,
    url: str,
    place: Path,
    figures: Figures,
    rows: int | None = None,
    given: Path | None = None,
) -> None:
    database = place / "bench.duckdb"
    environment = {name: value.format(url=url) for name, value in contender.environment.items()}
    environment |= {"ORGX_API_KEY": KEY, "DLT_DATA_DIR": str(place / "dlt")}
    try:
        seconds, peak = run(contender.arguments(url, database, given), place, environment)
        if rows is not None:
            check_rows(database, rows)
    except RunFailedError as error:
        figures.failed = str(error)
        return
    figures.seconds.append(round(seconds, 3))
    figures.peak_mb.append(round(peak))


def write_rows(file: Path, count: int) -> None:
    """Write the rows of the page server as one Parquet file, each row with the time of its version."""
    table = as_table([orjson.loads(row) for row in make_rows(count)])
    pq.write_table(table.append_column("last_changed_at", table.column("updated_at")), file)


def _prepare(contender: Contender, url: str, place: Path) -> None:
    """Load for the first time, unmeasured.

    Raises:
        RunFailedError: It failed, so the next load would not be a later one.
    """
    figures = Figures([], [], [])
    _measure(contender, url, place, figures)
    if figures.failed:
        raise RunFailedError(f"{contender.name}: {figures.failed}")


def check_rows(database: Path, rows: int) -> None:
    """Check that every task was loaded exactly once: a fast load that loses a row does not count.

    Raises:
        RunFailedError: A task is missing or duplicated.
    """
    with duckdb.connect(str(database), read_only=True) as connection:
        schemas = connection.execute(
            "select table_schema from information_schema.tables where table_name = 'tasks' "
            "and table_schema not like '%staging%'"
        ).fetchall()
        for (schema,) in schemas:
            catalog = connection.execute("select current_database()").fetchall()[0][0]
            found = connection.execute(f'select count(distinct id), count(*) from "{catalog}"."{schema}".tasks')
            if found.fetchall() == [(rows, rows)]:
                return
    raise RunFailedError(f"not every one of {rows} rows was loaded exactly once")


def _check_quiet(place: Path) -> None:
    """Check that a run without changes wrote no row."""
    with duckdb.connect(str(place / "bench.duckdb"), read_only=True) as connection:
        written = connection.execute(
            "select sum(rows_new + rows_changed + rows_deleted) from orgx.sync_log "
            "group by run_id order by min(started_at)"
        ).fetchall()
    if [int(row[0]) for row in written[1::2]] != [0] * len(written[1::2]):
        raise RunFailedError(f"a run without changes wrote rows: {written}")


def _change_a_hundredth(box: Sandbox) -> None:
    box.world.now += timedelta(hours=1)
    for kind in ("initiative", "artifact", "decision", "workstream", "milestone", "task"):
        for row in box.world.rows(kind)[::100]:
            box.world.edit(kind, row["id"], description=f"changed at {box.world.now}")


def _line(name: str, figures: Figures) -> str:
    if figures.failed:
        return f"{name:<36} {figures.failed}"
    return f"{name:<36}{figures.seconds[-1]:>8.2f} s {figures.peak_mb[-1]:>7.0f} MB"
