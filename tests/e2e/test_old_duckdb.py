"""The fault of DuckDB 2.0.0: after a commit that failed, the next rows are stored in the wrong place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.old_duckdb import ROWS

ROOT = Path(__file__).parents[2]
Load = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def load_with_old_duckdb(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A function that loads in a process with DuckDB 2.0.0; returns what the run claims and what is there."""
    folder = tmp_path_factory.mktemp("duckdb")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), "duckdb==2.0.0"]
    installed = subprocess.run(install, capture_output=True, text=True)
    if installed.returncode != 0:
        pytest.skip("DuckDB 2.0.0 cannot be installed here")
    path = os.pathsep.join([str(folder), str(ROOT)])

    def load(*options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "tests.old_duckdb", *options]
        found: dict[str, Any] = {}
        for attempt in range(4):
            # DuckDB sometimes finds memory elsewhere, and the commit succeeds: then nothing was tried.
            folder = tmp_path_factory.mktemp(f"attempt{attempt}")
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": path}
            )
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout)
            if found["failed"]:
                break
        assert (found["duckdb"], found["failed"]) == ("2.0.0", 1)
        return found

    return load


def test_a_commit_that_failed_costs_no_row(load_with_old_duckdb: Load) -> None:
    found = load_with_old_duckdb()
    assert (found["rows"], found["ids"]) == (ROWS, ROWS)
    assert (found["verdict"], found["exit_code"]) == ("certified", 0)


def test_without_what_prevents_it_arrival_notices_and_mends_it(load_with_old_duckdb: Load) -> None:
    found = load_with_old_duckdb("bare", "unfinished")
    assert found["verdict"] == "repaired"
    assert "of them more than once; the load was repeated and is now complete" in found["reasons"][0]
    assert (found["rows"], found["ids"], found["exit_code"]) == (ROWS, ROWS, 0)


def test_a_file_that_duckdb_cannot_finish_is_no_load_and_no_bug_of_ours(load_with_old_duckdb: Load) -> None:
    found = load_with_old_duckdb("bare")
    assert found["exit_code"] == 4
    assert "could not finish writing the file" in found["error"]
    assert "This load does not count; the next run reads its rows again." in found["error"]
