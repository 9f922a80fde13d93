"""A disk that is full at any moment of a run: one sentence, and the next run has every row."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

from orgx_source.sandbox import Sandbox, World
from tests.running import differences


def run(box: Sandbox, before: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orgx_source.cli", "run", "--quiet", "--database", "x.duckdb"],
        # dlt tries each job five times, with pauses between.
        env={**os.environ, "ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url, "LOAD__RAISE_ON_MAX_RETRIES": "1"},
        preexec_fn=before,
        capture_output=True,
        text=True,
        timeout=120,
    )


# While rows are read (DuckDB needs 12 KB to begin a file at all), while they are loaded.
@pytest.mark.parametrize("largest", [20_000, 400_000])
def test_a_full_disk_is_a_sentence_and_the_next_run_has_every_row(largest: int) -> None:
    # No file may grow beyond: for whoever writes it the same as a disk without space, and anybody may set it.
    def fill_the_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    with Sandbox(World("medium")) as box:
        failed = run(box, fill_the_disk)
        assert failed.returncode in (1, 4)
        assert "File too large" in failed.stderr.splitlines()[-1]
        assert len(failed.stderr.splitlines()) <= 3, failed.stderr
        done = run(box, lambda: None)
        assert (done.returncode, done.stderr) == (0, "")
        assert differences(box.world) == []
