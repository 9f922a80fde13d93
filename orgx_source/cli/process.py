"""What is set once in a process that belongs to one command: never in a process of somebody else's."""

from __future__ import annotations

import gc
import io
import os
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
    """Standard output, which takes what is written after its reader has gone: a run is what it did, not who read it."""

    def write(self, data: Any) -> int:
        """Write; into nothing where nobody reads any more."""
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
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
    out = sys.stdout
    if out is not None and not out.isatty():
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(out.fileno(), "wb", closefd=False)), out.encoding, out.errors
        )


def hide_unused_packages() -> None:
    """Keep pandas and numpy out of a process in which nothing has a use for them.

    pyarrow imports both, wherever they are installed, to tell whether a list is one of theirs: 0.4 s of a quiet run.
    """
    sys.meta_path.insert(0, _NotInstalled())
