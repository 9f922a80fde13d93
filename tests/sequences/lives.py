"""Where a sequence takes place: a directory, an empty warehouse, and the small part of the product that it looks at."""

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
    """Yield a new organisation with an empty warehouse, in a directory of its own."""
    before, here = Path.cwd(), Path(tempfile.mkdtemp(prefix="sequence-", dir=Path.cwd()))
    os.chdir(here)
    try:
        with mock.patch.dict(os.environ, DLT_DATA_DIR=str(here / "dlt")), small_product():
            execute("drop schema if exists orgx cascade")
            yield Life()
    finally:
        os.chdir(before)
        shutil.rmtree(here, ignore_errors=True)
