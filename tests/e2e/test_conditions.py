"""A run is what it did: neither the place where it runs nor who reads its words changes the result."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orgx_source.sandbox import Fault, Sandbox, World
from tests.e2e.test_command import orgx_sync
from tests.running import sync

COMMAND = f"{sys.executable} -m orgx_source.cli"
RUN = "run --table workspaces --database x.duckdb"


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """Return one sandbox for all: each run fills a file of its own."""
    with Sandbox(World("small")) as box:
        yield box


def shell(line: str, box: Sandbox, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in bash; ``@`` is the command."""
    settings = {**os.environ, "ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url, **environment}
    return subprocess.run(
        ["bash", "-c", "set -o pipefail; " + line.replace("@", COMMAND)],
        env=settings,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"@ {RUN} > /dev/full", 0),
        (f"@ {RUN} 2> /dev/full >&-", 0),
        (f"@ {RUN} <&- >&- 2>&-", 0),
        ("@ tables > /dev/full", 0),
        ("@ tables | head -1", 0),
        ("@ tables --json >&-", 0),
        ("@ --help > /dev/full", 0),
        ("@ status > /dev/full 2>&1", 4),
        ("@ nope 2> /dev/full", 2),
        ("ORGX_API_KEY= @ run --json > /dev/full 2>&-", 3),
    ],
)
def test_output_that_cannot_be_written_is_not_the_result(line: str, code: int, box: Sandbox) -> None:
    done = shell(line, box)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


COMMANDS = ["run", "check", "plan", "verify", "status", "export out", "marts"]


def failure(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the one object that a command printed, when it says what the exit code says."""
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode
    assert "Traceback" not in done.stderr
    return document


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_one_object_when_a_command_cannot_begin(command: str) -> None:
    done = orgx_sync(*command.split(), "--json", "--database", "none.duckdb")
    assert done.returncode in (3, 4)
    assert failure(done)["error"] in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        ("run", {"ORGX_BASE_URL": "http://example.com"}, 3),
        ("run --destination nowhere", {}, 3),
        ("run --workers none", {}, 2),
        ("marts --nonsense", {}, 2),
        ("check --table nothing", {}, 2),
        ("check", {"ORGX_DATABASE": "/nowhere/x.duckdb"}, 3),
        ("plan", {"DESTINATION__DUCKDB__CREDENTIALS": "x", "DLT_DATA_DIR": "/dev/null/dlt"}, 1),
    ],
)
def test_json_is_one_object_for_whatever_stops_a_command(arguments: str, environment: Any, code: int) -> None:
    settings = {"ORGX_API_KEY": "oxk_whatever_1234", **environment}
    done = orgx_sync(*arguments.split(), "--json", **settings)
    assert (done.returncode, failure(done)["status"]) == (code, "failed")


@pytest.mark.parametrize("way", ["environment", "settings"])
def test_json_is_one_object_however_it_is_asked_for(way: str) -> None:
    environment = {"ORGX_JSON": "true"} if way == "environment" else {}
    if way == "settings":
        Path(".dlt").mkdir()
        Path(".dlt/config.toml").write_text("[orgx_sync]\njson = true\n")
    for arguments in (["status"], ["run", "--nonsense"]):
        done = orgx_sync(*arguments, **environment)
        assert done.returncode
        assert failure(done)["error"] in done.stderr
    # A command without that option prints none.
    assert orgx_sync("query", "select 1", **environment).stdout == ""


def test_json_is_one_object_after_an_interrupt() -> None:
    with Sandbox(World("small")) as box:
        settings = {**os.environ, "ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url}
        process = subprocess.Popen(
            [*COMMAND.split(), *RUN.split(), "--json"],
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Whoever runs the tests in the background ignores it.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        box.inject(Fault.drift(lambda world, number: process.send_signal(signal.SIGINT) if number == 1 else None))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["exit_code"]) == (130, 130), err
    assert "interrupted" in err


def test_what_an_encoding_lacks_is_shown_otherwise_and_json_stays_json(box: Sandbox) -> None:
    for arguments in ((*RUN.split(),), (*RUN.split(), "--json"), ("tables",)):
        done = orgx_sync(*arguments, box=box, PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()
    Path("näher.duckdb").write_text("no database")
    done = orgx_sync("check", "--json", "--database", "näher.duckdb", box=box, PYTHONIOENCODING="ascii")
    assert "näher.duckdb" in str(json.loads(done.stdout))


CONDITIONS = {
    "no-home": "env -u HOME @ {run}",
    "missing-home": "HOME=/nowhere @ {run}",
    "no-right-to-home": "mkdir home; chmod 0 home; HOME=$PWD/home @ {run}",
    "umask-077": "umask 077; @ {run}",
    "umask-000": 'umask 000; @ {run} && test -z "$(find dlt/* -maxdepth 1 -type d -perm /077)"',
    "c-locale": "LC_ALL=C LANG=C @ {run}",
    "posix-locale-without-utf8": "LC_ALL=POSIX PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 @ {run}",
    "dumb-terminal": "TERM=dumb @ {run}",
    "odd-time-zone": "TZ=Nowhere/Nothing @ {run}",
    "half-hour-time-zone": "TZ=Asia/Kathmandu @ {run}",
    "no-path": "PATH= @ {run}",
    "stdin-closed": "@ {run} <&-",
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_run_ends_well_wherever_it_runs(condition: str, box: Sandbox) -> None:
    done = shell(CONDITIONS[condition].format(run=RUN), box)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert Path("x.duckdb").exists()


def test_a_folder_that_is_gone_is_a_sentence(box: Sandbox) -> None:
    done = shell("mkdir gone; cd gone; rmdir ../gone; @ run", box)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "The current folder no longer exists" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_user_with_one_folder_of_its_own_can_run(box: Sandbox) -> None:
    # A folder of the test is closed to others, as are those above it.
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        if subprocess.run(["test", "-x", sys.executable], user=65534, group=65534, extra_groups=[]).returncode:
            pytest.skip("this Python lies where only root may look")
        done = subprocess.run(
            [*COMMAND.split(), *RUN.split()],
            env={"ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url, "DLT_DATA_DIR": f"{folder}/dlt"},
            cwd=folder,
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_many_runs_in_one_process_keep_nothing_of_each_and_no_file_more() -> None:
    kept: list[tuple[int, int]] = []
    with Sandbox(World("small")) as box:
        for night in range(8):
            box.world.insert("task", title=f"night {night}")
            assert sync(box, ["tasks"]).status == "ok"
            box.forget()
            gc.collect()
            files = [path for path in Path("dlt").rglob("*") if path.is_file()]
            kept.append((len(gc.get_objects()), len(files)))
    # Of 2,600 lookups that dlt notes in a run, none may stay.
    assert (kept[7][0] - kept[3][0]) / 4 < 700, kept
    assert kept[7][1] <= kept[3][1], kept
