"""Replaces files atomically: reports, exports, published databases.

Only regular files are replaced. For a link, its target is replaced; a pipe or device is written to directly.
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
    """Yield a temporary name to write a file to, then move it to `path`.

    The old file is unchanged until then, and stays if anything fails. The new file gets its permissions. Nothing else
    is left behind.

    Args:
        path: The file to create or replace, or a pipe or device to write to; its folder exists.
        unfinished: Temporary name; by default `path` with ``.unfinished``.
        durable: Whether to sync it to disk, to survive a power cut.
        log: Suffix of the database's write-ahead log. The old file's log is deleted just before the old file is
            replaced; otherwise it would be replayed into the new one.

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
            # Otherwise an existing database would be opened and extended, with its log.
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
    """Return whether a path is a regular file, a link to one, or does not exist; False for a pipe or a device.

    Raises:
        OSError: It is a folder or a circular link.
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
    # Only root may change the owner of a file.
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
