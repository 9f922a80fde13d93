"""A run that is killed at any moment loses nothing: the next one completes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.config import load_config
from orgx_source.errors import BudgetError
from orgx_source.reading.session import ReadSession
from orgx_source.sandbox import Fault, RateLimit, Sandbox, World
from orgx_source.source import orgx_source
from orgx_source.sync import run_sync
from tests.running import DATABASE, differences, fast_client, pipeline, query, sync


@pytest.mark.parametrize("seed", range(int(os.environ.get("ORGX_KILLS", "4"))))
def test_kill_9_at_a_random_request_and_run_again(seed: int) -> None:
    rng = random.Random(seed)
    with Sandbox(World("medium")) as box:
        if seed % 2:
            assert sync(box).status == "ok"
            box.world.advance(days=1)
            box.forget()
        # The first syncs send some 70 requests, the second ones some 30; then come normalize and load.
        fatal = rng.randrange(1, 90 if seed % 2 == 0 else 40)
        environment = {**os.environ, "ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url}
        command = [sys.executable, "-m", "orgx_source.cli", "run", "--database", "x.duckdb", "--quiet"]
        process = subprocess.Popen(command, env=environment)

        def kill(world: World, number: int) -> None:
            if number == fatal:
                process.send_signal(signal.SIGKILL)

        box.inject(Fault.drift(kill))
        process.wait()
        box.heal()
        killed = asked(box)
        box.forget()
        report = sync(box)
        assert report.status == "ok", report.to_json()
        assert differences(box.world) == []
        again = killed & asked(box)
        # For `make search`: what the kill has cost.
        sys.stdout.write(f"killed at request {fatal}: {len(killed)} requests, {len(again)} of them sent again\n")


def asked(box: Sandbox) -> set[tuple[str, ...]]:
    return {(seen.path, *map(str, sorted(seen.params.items()))) for seen in box.requests}


@pytest.mark.parametrize("milliseconds", [100, 400, 800])
def test_kill_9_some_time_after_the_last_request_and_run_again(milliseconds: int) -> None:
    with Sandbox(World("medium")) as box:
        environment = {**os.environ, "ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url}
        command = [sys.executable, "-m", "orgx_source.cli", "run", "--database", "x.duckdb", "--quiet"]
        process = subprocess.Popen(command, env=environment)
        try:
            # The full read takes a hundred requests: from here on the rows are normalized and loaded.
            while len(box.requests) < 95 and process.poll() is None:
                try:
                    process.wait(0.01)
                except subprocess.TimeoutExpired:
                    continue
            process.wait(milliseconds / 1000)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()
        report = sync(box)
        assert report.status == "ok", report.to_json()
        assert differences(box.world) == []


def test_an_older_copy_of_the_warehouse_is_brought_up_to_date() -> None:
    with Sandbox(World("small")) as box:
        sync(box)
        shutil.copy(DATABASE, "backup.duckdb")
        tasks = list(box.world.find("task"))
        for edited in (tasks[:30], tasks[30:70]):
            box.world.now += timedelta(hours=2)
            for task_id in edited:
                box.world.edit("task", task_id, title="edited")
            sync(box, page_size=10)
        # The cursor on this machine is past the first edits, and the copy does not hold them.
        shutil.copy("backup.duckdb", DATABASE)
        assert sync(box, page_size=10).status == "ok"
        assert differences(box.world) == []


def restore_copy(box: Sandbox) -> None:
    shutil.copy("backup.duckdb", "copy.duckdb")
    Path("copy.duckdb").replace(DATABASE)


def lose_lock(box: Sandbox) -> None:
    for lock in Path().glob("*.lock"):
        lock.unlink()
    settings = {"ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url, "DLT_DATA_DIR": "other"}
    command = [sys.executable, "-m", "orgx_source.cli", "run", "--table", "tasks", "--database", str(DATABASE)]
    subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True)


@pytest.mark.parametrize("spoil", [restore_copy, lose_lock])
def test_rows_that_were_compared_with_another_state_of_the_warehouse_are_not_loaded(
    spoil: Callable[[Sandbox], None],
) -> None:
    with Sandbox(World("medium")) as box:
        sync(box, ["tasks"])
        shutil.copy(DATABASE, "backup.duckdb")
        tasks = list(box.world.find("task"))
        for task_id in tasks[:2]:
            box.world.now += timedelta(hours=1)
            box.world.edit("task", task_id, title="edited")
            sync(box, ["tasks"])
        box.world.edit("task", tasks[2], title="edited")
        # The rows of the warehouse are known by then.
        pages: list[int] = []

        def on_progress(table: str, requests: int, rows: int) -> None:
            pages.append(requests)
            if len(pages) == 1:
                spoil(box)

        client = fast_client(box)
        report = run_sync(client.config, pipeline(), tables=["tasks"], client=client, on_progress=on_progress)
        assert (report.exit_code, "The rows read were discarded" in str(report.error)) == (4, True), report.to_json()
        # A verdict is about rows that are in the warehouse.
        assert report.tables["tasks"].verdict is None
        logged = "select verdict from orgx.sync_log where error is not null"
        assert query(logged) == [(None,)]
        report = sync(box, ["tasks"])
        assert report.status == "ok", report.to_json()
        assert differences(box.world, tables=["tasks"]) == []
        assert query("select count(*) from orgx.tasks_history where title = 'edited'") == [(3,)]


def test_a_warehouse_that_is_gone_is_filled_again() -> None:
    with Sandbox(World("small")) as box:
        sync(box)
        DATABASE.unlink()
        assert sync(box).status == "ok"
        assert differences(box.world) == []


def test_a_machine_that_comes_back_does_not_load_rows_that_are_older_than_what_is_there() -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        task_id = next(iter(box.world.find("task")))
        box.world.now += timedelta(hours=1)
        box.world.edit("task", task_id, title="old")
        client = fast_client(box)
        waiting = pipeline()
        waiting.sync_destination()
        session = ReadSession(client.config, client)
        waiting.extract(orgx_source(session=session).with_resources("tasks"))
        session.close()
        shutil.move("dlt", "away")
        box.world.now += timedelta(hours=1)
        box.world.edit("task", task_id, title="new")
        assert sync(box, ["tasks"]).status == "ok"
        shutil.rmtree("dlt")
        shutil.move("away", "dlt")
        report = sync(box, ["tasks"])
        assert "newer data has been loaded from elsewhere" in " ".join(report.messages)
        assert differences(box.world, tables=["tasks"]) == []


# Of the medium organisation, pages read side by side wait too.
@pytest.mark.parametrize(
    ("size", "limit"), [("small", None), ("medium", RateLimit(15))], ids=["reading", "waiting an hour"]
)
def test_a_user_who_interrupts_a_run_is_told_what_stays(size: str, limit: RateLimit | None) -> None:
    with Sandbox(World(size), rate_limit=limit) as box:
        environment = {**os.environ, "ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url}
        command = [sys.executable, "-m", "orgx_source.cli", "run", "--database", "x.duckdb", "--max-wait", "9999"]
        # Whoever runs the tests in the background has them ignore interrupts, and children inherit that.
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
        assert process.stderr is not None
        try:
            if limit is None:
                interrupt = partial(process.send_signal, signal.SIGINT)
                box.inject(Fault.drift(lambda world, number: interrupt() if number == 5 else None))
            else:
                assert process.stderr.readline().startswith("waiting 3")
                process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
        assert (process.returncode, said.strip()) == (
            130,
            "orgx-sync: interrupted. Loaded data is kept; the next run continues from there",
        )
    with Sandbox(box.world) as box:
        assert sync(box).status == "ok"
        assert differences(box.world) == []


def test_a_run_that_ends_waits_no_longer_for_an_answer_of_which_it_has_no_use() -> None:
    with Sandbox(World("small"), faults=[Fault("rate_limited", 3600)]) as box:
        waiting = threading.Event()
        client = OrgxClient(load_config(api_key=box.api_key, base_url=box.url, max_wait=9999))
        client.budget.on_wait = lambda seconds, why: waiting.set()
        session = ReadSession(client.config, client)
        answer = session.executor.submit(session.workspace)
        assert waiting.wait(30)
        closing = threading.Thread(target=session.close, daemon=True)
        closing.start()
        closing.join(30)
        assert not closing.is_alive()
        assert isinstance(answer.exception(), BudgetError)
