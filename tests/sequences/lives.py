"""The environment of a sequence: a directory, an empty warehouse, and the tables it uses."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from tests.running import execute
from tests.sequences.hooks import small_product
from tests.sequences.machine import Life


@contextmanager
def a_life() -> Iterator[Life]:
    """Yield a new organisation with an empty warehouse, in its own directory."""
    before, here = Path.cwd(), Path(tempfile.mkdtemp(prefix="sequence-", dir=Path.cwd()))
    os.chdir(here)
    try:
        with mock.patch.dict(os.environ, DLT_DATA_DIR=str(here / "dlt")), small_product():
            execute("drop schema if exists orgx cascade")
            yield Life()
    finally:
        os.chdir(before)
        shutil.rmtree(here, ignore_errors=True)
