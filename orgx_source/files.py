"""Replaces a file only once the new one is whole: a report, an export, a published database.

Only plain files are replaced. A link stays, and what it leads to is replaced; a pipe or a device is written to.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".unfinished"


@contextmanager
def whole_file(path: Path, *, unfinished: str = "", durable: bool = False, log: str = "") -> Iterator[Path]:
    """Yield the name under which to write a file, and put it in the place of `path` at the end.

    An older file stays as it is until then, and for good when anything fails. Its permissions go over to the new one.
    Nothing else is left behind.

    Args:
        path: The file to make or replace, or what it is to be written to; its folder exists.
        unfinished: Its name until it is whole; that of `path` with ``.unfinished`` when not given.
        durable: Whether it survives a power cut from then on.
        log: Ending of the write-ahead log that whoever writes such a file keeps next to it. The older file's log goes
            just before the older file: it would be replayed into the new one.

    Raises:
        OSError: The file cannot be written or renamed.
    """
    if not is_plain(path):
        with tempfile.TemporaryDirectory() as folder:
            yield (making := Path(folder, path.name))
            with making.open("rb") as whole, path.open("wb") as opened:  # guard: only-plain-files-are-replaced
                shutil.copyfileobj(whole, opened)
        return
    path = path.resolve()
    making = path.with_name(unfinished or path.name + UNFINISHED)
    leftovers = [making, making.with_name(making.name + log)]
    try:
        if log:
            # A database would be opened and filled further, log and all.
            _remove(leftovers)
        yield making
        if path.exists():
            _keep_permissions(path, making)
        if durable:
            _to_disk(making)
        if log:
            path.with_name(path.name + log).unlink(missing_ok=True)
        making.replace(path)
        if durable:
            _to_disk(path.parent)
    finally:
        _remove(leftovers)


def is_plain(path: Path) -> bool:
    """Return whether a path is a plain file, a link to one, or nothing yet; False for a pipe or a device.

    Raises:
        OSError: It is a folder, or a link that leads in a circle.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return stat.S_ISREG(mode)


def _keep_permissions(older: Path, newer: Path) -> None:
    found = older.stat()
    # Only root may give a file away.
    with suppress(PermissionError):
        os.chown(newer, found.st_uid, found.st_gid)
    newer.chmod(found.st_mode & 0o777)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
