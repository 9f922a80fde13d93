"""Runs a command as a process of its own, and says how long it took and how much memory it had."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median


@dataclass
class Figures:
    """What the runs of one contender took.

    Attributes:
        seconds: Wall time of each run, the whole process.
        peak_mb: Largest resident set of each run; of several processes the largest.
        requests: Requests of each run, where they were counted.
        failed: Why it takes no further part; empty while it does.
        sizes: What stood there after each run, by what it is, where that was measured.
    """

    seconds: list[float]
    peak_mb: list[float]
    requests: list[int]
    failed: str = ""
    sizes: dict[str, list[float]] = field(default_factory=dict)

    @property
    def median_seconds(self) -> float:
        """Return the median of the seconds."""
        return median(self.seconds)

    @property
    def median_peak_mb(self) -> float:
        """Return the median of the peak memory."""
        return median(self.peak_mb)


class RunFailedError(Exception):
    """A command that was measured ended with an error, or did not bring what it should."""


def run(command: Sequence[str], place: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Run a command in a folder; return its seconds and its peak memory in MB.

    Raises:
        RunFailedError: It ended with another exit code than 0.
    """
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py"))]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as told:
        subprocess.run(
            [*launcher, str(told.fileno()), *command], cwd=place, env={**os.environ, **environment},
            stdout=output, stderr=subprocess.STDOUT, pass_fds=(told.fileno(),), check=True,
        )  # fmt: skip
        told.seek(0)
        seconds, peak_kb, status = told.read().split()
        code = os.waitstatus_to_exitcode(int(status))
        if code:
            output.seek(0)
            raise RunFailedError(f"exit code {code}: {' '.join(output.read().split())[-300:]}")
    return float(seconds), int(peak_kb) / 1024


@contextmanager
def page_server(rows: int, latency: float) -> Iterator[str]:
    """Serve tasks in a process of its own; yield its address."""
    script = Path(__file__).with_name("page_server.py")
    command = [sys.executable, str(script), "--rows", str(rows), "--latency", str(latency)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield (process.stdout.readline() if process.stdout else "").strip()
    finally:
        process.communicate()
