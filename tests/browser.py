"""A real browser without a window, to see whether a page draws what it should."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOW_TO_HAVE_ONE = "no Chromium or Chrome is on PATH: install one (Debian: apt-get install chromium), then run again"
INSTALL = "apt-get update && apt-get install -y --no-install-recommends chromium"
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


def find_browser() -> str | None:
    """Return a browser's path; installed first where this process may install one on Debian and none is there."""
    # Several workers of pytest come here at the same time, and apt serves one.
    with FileLock(Path(tempfile.gettempdir()) / "orgx-browser.lock"):
        found = _on_path()
        if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(INSTALL, shell=True, env=environment, capture_output=True, timeout=900)
            found = _on_path()
    return found


def _on_path() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Opened:
    """A page after its scripts ran.

    Attributes:
        dom: Its HTML as it is then.
        console: What was written to the browser's console, a line each.
    """

    dom: str
    console: list[str]


def open_page(browser: str, page: Path) -> Opened:
    """Open a file, let ten seconds of the page's own time pass, and return what it became."""
    with tempfile.TemporaryDirectory(prefix="orgx-browser-", ignore_cleanup_errors=True) as profile:
        options = [f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"]
        done = subprocess.run(
            [browser, *QUIET, *options, page.resolve().as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return Opened(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])
