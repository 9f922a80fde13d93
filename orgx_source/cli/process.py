"""Process-wide settings of the command line; never applied when the package is used as a library."""

from __future__ import annotations

import gc
import io
import os
import select
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from typing import Any

from orgx_source.config import DLT_SETTINGS

# Arrow's own allocator holds on to 50 MB after a first sync.
ARROW_SETTINGS = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
# New containers before the garbage collector runs (Python's default: 700).
COLLECT_AFTER = 100_000
UNUSED = frozenset({"numpy", "pandas"})


class _Output(io.FileIO):
    """An output stream that never fails: a run must not fail because its output cannot be written."""

    def write(self, data: Any) -> int:
        """Write; discard everything after the reader is gone or the disk is full."""
        try:
            while (written := super().write(data)) is None:
                # Another process made the shared pipe non-blocking, and it is full.
                select.select((), (self.fileno(),), ())
            return written
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # guard: output-is-no-result
            return len(data)


class _NotInstalled:
    """A finder of modules: makes some packages look as if they were not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name in UNUSED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def set_up_process() -> None:
    """Set up the process of a command, before dlt is imported."""
    os.environ.update({**DLT_SETTINGS, **ARROW_SETTINGS, **os.environ})
    # Parsed rows are many small containers without cycles; collecting them took 15 % of a first sync.
    gc.set_threshold(COLLECT_AFTER, 20, 100)
    _open_what_is_closed()
    sys.stdout, sys.stderr = _unfailing(sys.stdout, 1), _unfailing(sys.stderr, 2)


def _open_what_is_closed() -> None:
    """Open closed standard descriptors on the null device; otherwise the next file opened gets their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _unfailing(stream: Any, number: int) -> io.TextIOWrapper:
    """Return a stream that escapes characters its encoding lacks and never fails.

    Args:
        stream: The stream that Python opened; None if the descriptor was closed.
        number: The descriptor.
    """
    encoding = "utf-8" if stream is None else stream.encoding
    output = _Output(number, "wb", closefd=False)
    at_once = number == 2 or output.isatty()
    return io.TextIOWrapper(io.BufferedWriter(output), encoding, "backslashreplace", line_buffering=at_once)


def hide_unused_packages() -> None:
    """Keep pandas and numpy out of a process that does not use them.

    pyarrow imports both if they are installed, to recognise their arrays: 0.4 s of a run without changes.
    """
    sys.meta_path.insert(0, _NotInstalled())
