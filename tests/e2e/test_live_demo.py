"""The live demo: events become rows on the screen, and it ends on Ctrl-C or when its time is up."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.running import query

DATABASE = Path("orgx_live.duckdb")


def live_demo(seconds: int, stdout: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orgx_source.cli", "demo", "--size", "small", "--live", str(seconds)]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, bufsize=1)


def trouble(stderr: str) -> list[str]:
    """Return what stands on stderr besides the progress of a slow first sync."""
    return [line for line in stderr.splitlines() if not line.startswith("rows read so far")]


def everything_from(descriptor: int) -> str:
    """Return what is written to a terminal until whoever writes has gone."""
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65_536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


def test_piped_it_is_a_line_for_each_event_and_an_interrupt_ends_it_well() -> None:
    with live_demo(600, subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "in the warehouse after" in line:
                process.send_signal(signal.SIGINT)
                break
        # While it still loads what had come: to the end.
        lines += process.stdout
        assert (process.wait(), trouble(process.stderr.read())) == (0, []), lines
    shown = "".join(lines)
    assert "\x1b" not in shown
    assert re.search(r"Decisions: (\d+ waiting, the newest|none waiting)", shown)
    (count,) = re.findall(r"^(\d+) events?, from event to row: median", shown, re.MULTILINE)
    assert int(count) == shown.count("in the warehouse after") > 0
    assert query("select count(*), count(loaded_at) from orgx.webhook_events", DATABASE) == [(int(count), int(count))]


def test_on_a_terminal_it_is_drawn_in_place_until_its_time_is_up() -> None:
    ours, its = pty.openpty()
    with live_demo(1, its) as process:
        os.close(its)
        shown = everything_from(ours)
        assert process.stderr is not None
        assert (process.wait(), trouble(process.stderr.read())) == (0, []), shown
    # Up, and over the older lines.
    assert "\x1b[1A" in shown and " s left" in shown
    assert "in the warehouse after" not in shown
    assert shown.rstrip().endswith('from webhook_events limit 5"')
