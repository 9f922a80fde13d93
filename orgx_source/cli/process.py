"""What is set once in a process that belongs to one command: never in a process of somebody else's."""

from __future__ import annotations

import gc
import io
import os
import select
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

from orgx_source.config import DLT_SETTINGS

# Arrow's own allocator keeps 50 MB of a first sync that nobody needs any more.
ARROW_SETTINGS = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
# Containers that may come before the garbage collector looks for cycles (Python's default: 700).
COLLECT_AFTER = 100_000
UNUSED = frozenset({"numpy", "pandas"})


class _Output(io.FileIO):
    """Where this process writes, which takes everything: a run is what it did, not what became of its words."""

    def write(self, data: Any) -> int:
        """Write; into nothing once nobody reads any more, or there is no room."""
        try:
            while (written := super().write(data)) is None:
                # Whoever shares the pipe has made it non-blocking, and it is full.
                select.select((), (self.fileno(),), ())
            return written
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # guard: output-is-no-result
            return len(data)


class _NotInstalled(MetaPathFinder):
    """Says that some packages are not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name in UNUSED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def set_up_process() -> None:
    """Set up the process of a command, before dlt is imported."""
    os.environ.update({**DLT_SETTINGS, **ARROW_SETTINGS, **os.environ})
    # Parsed rows are many small containers without cycles: looking through them took 15 % of a first sync.
    gc.set_threshold(COLLECT_AFTER, 20, 100)
    _open_what_is_closed()
    sys.stdout, sys.stderr = _unfailing(sys.stdout, 1), _unfailing(sys.stderr, 2)


def _open_what_is_closed() -> None:
    """Let the three standard descriptors lead nowhere where they are closed: else the next file gets their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _unfailing(stream: Any, number: int) -> io.TextIOWrapper:
    """Return a stream that shows what its encoding lacks as an escape, and fails at nothing.

    Args:
        stream: What Python opened; None where the descriptor was closed.
        number: The descriptor.
    """
    encoding = "utf-8" if stream is None else stream.encoding
    output = _Output(number, "wb", closefd=False)
    at_once = number == 2 or output.isatty()
    return io.TextIOWrapper(io.BufferedWriter(output), encoding, "backslashreplace", line_buffering=at_once)


def hide_unused_packages() -> None:
    """Keep pandas and numpy out of a process in which nothing has a use for them.

    pyarrow imports both, wherever they are installed, to tell whether a list is one of theirs: 0.4 s of a quiet run.
    """
    sys.meta_path.insert(0, _NotInstalled())
