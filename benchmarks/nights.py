"""Many nights, one after another, in one process or as commands: shows whether time, memory or files grow.

python benchmarks/nights.py --url URL --database FILE --nights N   # in one process; a line of JSON after each night
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import IO, Any

from benchmarks.contenders import KEY
from benchmarks.measure import Figures, RunFailedError, run
from orgx_source.sandbox import Sandbox

ONE_PROCESS, COMMANDS = "one process", "commands"
TABLES = ("initiatives", "agents", "tasks")
OPTIONS = [word for table in TABLES for word in ("--table", table)]
# Nights to compare: early ones, after caches have filled, and the last ones.
EARLY, LATE = slice(20, 40), slice(-20, None)


@dataclass(frozen=True)
class Night:
    """Measurements after one night.

    Attributes:
        seconds: Duration of the run.
        memory_mb: Resident set of the long-running process; for a command, its peak.
        descriptors: Open files of the long-running process; 0 for a command, which has ended.
        files: Files in dlt's working folder.
        folder_kb: Size of the working folder.
        database_kb: Size of the DuckDB file.
    """

    seconds: float
    memory_mb: float
    descriptors: int
    files: int
    folder_kb: float
    database_kb: float


def grown(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the medians of early nights and of the last ones; None if there are too few nights."""
    return (median(values[EARLY]), median(values[LATE])) if len(values) >= EARLY.stop + 20 else None


def nights_in_one_process(box: Sandbox, place: Path, count: int, tell: Callable[[str], None]) -> Figures:
    """Simulate nights in a long-running process, like a scheduler that calls `run_sync`."""
    command = [sys.executable, "-m", "benchmarks.nights", "--url", box.url, "--database", str(place / "bench.duckdb")]
    with _process([*command, "--nights", str(count)], place) as (asked, answers):
        return _measure(count, ONE_PROCESS, tell, lambda number: _next(box, number, asked, answers))


def nights_as_commands(box: Sandbox, place: Path, count: int, tell: Callable[[str], None]) -> Figures:
    """Simulate nights as commands, like cron."""
    script = [sys.executable, "-m", "orgx_source.cli", "run", "--quiet", "--no-marts", *OPTIONS]
    environment = {"ORGX_API_KEY": KEY, "ORGX_BASE_URL": box.url, "DLT_DATA_DIR": str(place / "dlt")}

    def night(number: int) -> Night:
        _change(box, number)
        seconds, peak = run([*script, "--database", str(place / "bench.duckdb")], place, environment)
        return Night(seconds, peak, 0, *_sizes(place))

    return _measure(count, COMMANDS, tell, night)


def _measure(count: int, name: str, tell: Callable[[str], None], night: Callable[[int], Night]) -> Figures:
    nights = []
    for number in range(count):
        nights.append(night(number))
        if number % 20 == 19:
            last = nights[-1]
            tell(
                f"{name:<14}night {number + 1:>4}{last.seconds:>7.2f} s{last.memory_mb:>6.0f} MB{last.descriptors:>4} "
                f"descriptors{last.files:>5} files{last.folder_kb:>7.0f} kB{last.database_kb:>7.0f} kB"
            )
    figures = Figures([round(one.seconds, 3) for one in nights], [round(one.memory_mb) for one in nights], [])
    for size in ("descriptors", "files", "folder_kb", "database_kb"):
        figures.sizes[size] = [round(getattr(one, size)) for one in nights]
    return figures


@contextmanager
def _process(command: Sequence[str], place: Path) -> Iterator[tuple[IO[str], IO[str]]]:
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "ORGX_API_KEY": KEY, "DLT_DATA_DIR": str(place / "dlt")}
    with subprocess.Popen(
        command, cwd=place, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        yield process.stdin, process.stdout


def _next(box: Sandbox, number: int, asked: IO[str], answers: IO[str]) -> Night:
    _change(box, number)
    asked.write("\n")
    asked.flush()
    if not (line := answers.readline()):
        raise RunFailedError(f"night {number + 1} ended the process")
    return Night(**json.loads(line))


def _change(box: Sandbox, number: int) -> None:
    """Change a handful of rows, and advance one day."""
    box.forget()
    box.world.now += timedelta(days=1)
    for kind in ("initiative", "task"):
        rows = box.world.rows(kind)
        for row in rows[number % 7 :: max(1, len(rows) // 3)]:
            box.world.edit(kind, row["id"], description=f"night {number}")


def _sizes(place: Path) -> tuple[int, float, float]:
    files = [file for file in (place / "dlt").rglob("*") if file.is_file()]
    return len(files), sum(file.stat().st_size for file in files) / 1024, (place / "bench.duckdb").stat().st_size / 1024


def _live(url: str, database: Path, count: int) -> None:
    """Run a night for each line on standard input."""
    from orgx_source.config import load_config
    from orgx_source.sync import make_pipeline, run_sync

    for _ in range(count):
        sys.stdin.readline()
        began = time.perf_counter()
        report = run_sync(load_config(base_url=url, marts=False), make_pipeline(database=database), tables=TABLES)
        seconds = time.perf_counter() - began
        if report.exit_code:
            raise SystemExit(str(report.to_json()))
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        print(json.dumps(asdict(Night(seconds, memory, descriptors, *_sizes(database.parent)))), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--database", required=True, type=Path)
    parser.add_argument("--nights", required=True, type=int)
    options: Any = parser.parse_args()
    _live(options.url, options.database, options.nights)


if __name__ == "__main__":
    main()
