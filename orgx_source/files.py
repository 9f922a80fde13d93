"""Replaces a file only once the new one is whole: a report, an export, a published database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".unfinished"


@contextmanager
def whole_file(path: Path, *, unfinished: str = "", durable: bool = False, log: str = "") -> Iterator[Path]:
    """Yield the name under which to write a file, and rename it to `path` at the end.

    An older file stays as it is until then, and for good when anything fails. Nothing else is left behind.

    Args:
        path: The file to make or replace; its folder exists.
        unfinished: Its name until it is whole; that of `path` with ``.unfinished`` when not given.
        durable: Whether it survives a power cut from then on, and keeps the permissions of the older file.
        log: Ending of the write-ahead log that whoever writes such a file keeps next to it. The older file's log goes
            just before the older file: it would be replayed into the new one.

    Raises:
        OSError: The file cannot be written or renamed.
    """
    making = path.with_name(unfinished or path.name + UNFINISHED)
    leftovers = [making, making.with_name(making.name + log)]
    try:
        if log:
            # A database would be opened and filled further, log and all.
            _remove(leftovers)
        yield making
        if durable:
            if path.exists():
                making.chmod(path.stat().st_mode & 0o777)
            _to_disk(making)
        if log:
            path.with_name(path.name + log).unlink(missing_ok=True)
        making.replace(path)
        if durable:
            _to_disk(path.parent)
    finally:
        _remove(leftovers)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
