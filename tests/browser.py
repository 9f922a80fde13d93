"""A headless browser, to verify that pages render."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOW_TO_HAVE_ONE = "no Chromium or Chrome is on PATH: install one (Debian: apt-get install chromium), then run again"
INSTALL = "apt-get update && apt-get install -y --no-install-recommends chromium"
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


def find_browser() -> str | None:
    """Return the path of a browser; install one first if none is there and this process may install it on Debian."""
    # Several workers of pytest may be here at once, but apt serves only one.
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
    """A page after its scripts have run.

    Attributes:
        dom: Its HTML at that time.
        console: Output on the browser's console, line by line.
    """

    dom: str
    console: list[str]


def open_page(browser: str, page: Path, *flags: str) -> Opened:
    """Open a file, let ten seconds of virtual time pass, and return the result."""
    with tempfile.TemporaryDirectory(prefix="orgx-browser-", ignore_cleanup_errors=True) as profile:
        options = [f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"]
        done = subprocess.run(
            [browser, *QUIET, *options, *flags, page.resolve().as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return Opened(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


class _Driven:
    """A browser controlled through two pipes, with its own protocol."""

    def __init__(self, browser: str, profile: str) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # The browser expects the descriptors 3 and 4.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out)]
        for end in (theirs_in, theirs_out):
            os.close(end)
        self._process = subprocess.Popen(
            [browser, *QUIET, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=lambda: (os.dup2(high[0], 3), os.dup2(high[1], 4)),
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in high:
            os.close(end)
        self._out, self._in = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb", 0)
        self._number, self._rest = 0, b""

    def ask(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._out.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                got = self._in.read(65536)
                assert got, "the browser closed its pipe"
                self._rest += got
            text, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                assert "result" in answer, answer
                return dict(answer["result"])

    def close(self) -> None:
        self._process.kill()
        self._process.wait(20)
        self._out.close()
        self._in.close()


def press(browser: str, address: str, selector: str, until: str) -> None:
    """Open an address, click the element of a selector, and wait until the page has this title."""
    with tempfile.TemporaryDirectory(prefix="orgx-browser-", ignore_cleanup_errors=True) as profile:
        driven = _Driven(browser, profile)
        try:
            target = driven.ask("Target.createTarget", url=address)["targetId"]
            session = driven.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            wanted = f"document.title === {json.dumps(until)} || (document.querySelector({json.dumps(selector)})"
            script = f"{wanted}?.click(), false)"
            deadline = time.monotonic() + 60
            while driven.ask("Runtime.evaluate", session, expression=script)["result"].get("value") is not True:
                assert time.monotonic() < deadline, "the page did not appear"
                time.sleep(0.1)
        finally:
            driven.close()


if __name__ == "__main__":
    found = find_browser()
    assert found is not None, HOW_TO_HAVE_ONE
    press(found, sys.argv[1], "#allow", "orgx-sync")
