"""Runs a command as a process, and measures its time and memory."""

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
    """The runs of one contender.

    Attributes:
        seconds: Wall time of each run, for the whole process.
        peak_mb: Peak resident set of each run; with several processes, that of the largest.
        requests: Requests of each run, if counted.
        failed: Why it was excluded; empty if it was not.
        sizes: Sizes after each run, by name, if measured.
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
    """A measured command failed or returned a wrong result."""


def run(command: Sequence[str], place: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Run a command in a folder; return its seconds and peak memory in MB.

    Raises:
        RunFailedError: Its exit code is not 0.
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
    """Serve tasks in a separate process; yield its address."""
    script = Path(__file__).with_name("page_server.py")
    command = [sys.executable, str(script), "--rows", str(rows), "--latency", str(latency)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield (process.stdout.readline() if process.stdout else "").strip()
    finally:
        process.communicate()
