"""From event to row: a listener for an organisation that sends events one by one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import duckdb

from benchmarks.contenders import KEY
from benchmarks.measure import Figures, RunFailedError
from orgx_source.sandbox import EventLog, Sandbox, Sender

LISTENER = "orgx-sync listen"
QUIET_RUN = "orgx-sync run, nothing changed"
SECRET = "whsec_benchmark"
PAUSE_SECONDS = 0.25


def event_lags(box: Sandbox, place: Path, count: int, tell: Callable[[str], None]) -> Figures:
    """Change decisions one by one, send an event for each, and return the time until each became a row.

    Args:
        box: The organisation, already loaded.
        place: Folder with ``bench.duckdb``.
        count: Events to send, four per second.
        tell: Called with a line.

    Raises:
        RunFailedError: The listener did not start, or not every event became a row.
    """
    command = [sys.executable, "-m", "orgx_source.cli", "listen", "--port", "0", "--database", "bench.duckdb"]
    settings = {"ORGX_API_KEY": KEY, "ORGX_BASE_URL": box.url, "ORGX_WEBHOOK_SECRET": SECRET}
    environment = {**os.environ, **settings, "DLT_DATA_DIR": str(place / "dlt")}
    with subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"listening at (http://\S+) ", process.stderr.readline())
            if found is None:
                raise RunFailedError("the listener did not start")
            Thread(target=process.stderr.read, daemon=True).start()
            _send(box, found[1], count)
            _wait(found[1])
            peak = _peak_mb(process.pid)
        finally:
            process.kill()
    with duckdb.connect(str(place / "bench.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select epoch(loaded_at) - epoch(created_at) from orgx.webhook_events where outcome = 'loaded' order by 1"
        ).fetchall()
    if len(rows) != count:
        raise RunFailedError(f"{len(rows)} of {count} events became rows")
    figures = Figures([round(row[0], 3) for row in rows], [round(peak)], [])
    median, most, worst = figures.median_seconds, share(figures, 0.95), max(figures.seconds)
    tell(f"{LISTENER:<36} median {median:.2f} s, 95 % {most:.2f} s, worst {worst:.2f} s")
    return figures


def share(figures: Figures, part: float) -> float:
    """Return the seconds within which this share of the events became rows."""
    return sorted(figures.seconds)[max(0, round(part * len(figures.seconds)) - 1)]


def _send(box: Sandbox, url: str, count: int) -> None:
    log, sender = EventLog(box.world), Sender(url, SECRET)
    ids = [row["id"] for row in box.world.rows("decision")]
    for number in range(count):
        with box.world.lock:
            box.world.now = datetime.now(UTC)
            box.world.edit("decision", ids[number % len(ids)], status="approved", title=f"settled {number}")
        sender.send(log.events())
        time.sleep(PAUSE_SECONDS)
    sender.close()
    if sender.answers != {200: count}:
        raise RunFailedError(f"the listener answered {dict(sender.answers)}")


def _wait(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        # Not urllib's default opener, which uses a proxy if the environment names one.
        connection = HTTPConnection(urlsplit(url).netloc, timeout=5)
        connection.request("GET", "/healthz")
        waiting = json.load(connection.getresponse())["waiting"]
        connection.close()
        if not waiting:
            return
        time.sleep(0.1)
    raise RunFailedError("events are still waiting after one minute")


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0
