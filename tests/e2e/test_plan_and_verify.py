"""A plan says what the run then does; verify finds every kind of difference; neither writes anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Page, Row
from orgx_source.api.routes import Route
from orgx_source.commands.check import run_check
from orgx_source.commands.plan import PlanReport, run_plan
from orgx_source.commands.verify import VerifyReport, run_verify
from orgx_source.config import load_config
from orgx_source.sandbox import Fault, Sandbox, World
from tests.running import DATABASE, KINDS, execute, fast_client, pipeline, query, sync

pytestmark = pytest.mark.usefixtures("each_warehouse")


def plan(box: Sandbox, tables: list[str] | None = None, **settings: object) -> PlanReport:
    client = fast_client(box, **settings)
    return run_plan(client.config, pipeline(), tables=tables, client=client)


def verify(box: Sandbox, tables: list[str] | None = None, **settings: object) -> VerifyReport:
    client = fast_client(box, **settings)
    return run_verify(client.config, pipeline(), tables=tables, client=client)


def assert_kept(report: PlanReport, box: Sandbox, **settings: object) -> None:
    """Run, and compare with what was planned."""
    done = sync(box, list(report.tables), **settings)
    for name, planned in report.tables.items():
        table = done.tables[name]
        assert (planned.route, planned.error) == (table.route, table.error)
        assert planned.rows == table.rows_read or planned.at_least, (name, planned, table)
        assert planned.requests is not None
        # Rows of one time at the edge of a page cost a request more; many tasks of the sandbox are made at once.
        assert planned.requests <= table.requests <= 2 * planned.requests + 1 or planned.at_least, (name, planned)


def test_a_plan_tells_what_the_run_then_does() -> None:
    with Sandbox(World("medium")) as box:
        first = plan(box)
        assert first.asked <= len(KINDS) + 1
        assert {table.mode for table in first.tables.values()} == {"whole"}
        assert_kept(first, box)
        quiet = plan(box, sample=0)
        assert quiet.tables["tasks"].mode == "changes"
        assert quiet.requests <= len(KINDS) + 1
        sampled = plan(box)
        assert quiet.requests < sampled.requests <= quiet.requests + 3
        assert_kept(sampled, box)
        box.world.now += timedelta(hours=1)
        for task_id in list(box.world.find("task"))[:7]:
            box.world.edit("task", task_id, title="edited")
        box.world.delete("artifact", next(iter(box.world.find("artifact"))))
        third = plan(box, ["tasks", "artifacts"])
        assert "the warehouse" in third.tables["artifacts"].because
        assert_kept(third, box)
        assert plan(box, ["tasks"], full=True).tables["tasks"].because == "a full read was requested"


def test_what_nobody_foresaw_is_a_sentence_for_its_table_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(client: OrgxClient, route: Route, *given: Any) -> Page:
        if "task" in route.name:
            raise ZeroDivisionError("by design")
        return fetch_page(client, route, *given)

    fetch_page = OrgxClient.fetch_page
    with Sandbox(World("small")) as box:
        monkeypatch.setattr(OrgxClient, "fetch_page", fetch)
        names = ["tasks", "initiatives"]
        config = load_config(api_key=box.api_key, base_url=box.url)
        reports: list[Any] = [
            plan(box, names),
            run_check(config, pipeline(), tables=names),
            sync(box, names),
            verify(box, names),
        ]
    for report in reports:
        assert report.tables["tasks"].error.startswith("Unexpected ZeroDivisionError: "), report
        assert "(orgx_source/" in report.tables["tasks"].error
        assert (report.exit_code, report.error) == (1, None)
        assert report.tables["initiatives"].error is None


@pytest.mark.parametrize("run", [plan, verify, sync])
def test_what_nobody_foresaw_before_the_first_table_is_a_sentence(
    run: Callable[[Sandbox], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bootstrap(client: OrgxClient) -> Row:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OrgxClient, "bootstrap", bootstrap)
    with Sandbox(World("small")) as box:
        report = run(box)
    assert report.exit_code == 1
    assert report.error == "A file operation on this machine failed: [Errno 28] No space left on device"


def test_a_plan_knows_of_a_read_that_was_cut_short_and_of_closed_routes() -> None:
    with Sandbox(World("medium")) as box:
        assert sync(box, ["artifacts"], page_size=10, max_requests=30).exit_code == 4
        resumed = plan(box, ["artifacts"], page_size=10).tables["artifacts"]
        assert resumed.mode == "resume"
        assert resumed.rows is not None
        assert 500 < resumed.rows < 800
        box.inject(Fault("closed", 403, entity="task"))
        assert plan(box, ["tasks"]).tables["tasks"].closed == ["/api/entities?type=task (403)"]
        box.heal()
        box.inject(Fault("status", 401))
        assert plan(box).exit_code == 3


def test_equal_is_equal_and_every_kind_of_difference_is_found() -> None:
    with Sandbox(World("small")) as box:
        sync(box)
        report = verify(box)
        assert report.exit_code == 0, report.to_json()
        assert sum(table.rows_at_orgx for table in report.tables.values()) > 1000
        task_ids = list(box.world.find("task"))
        execute(
            f"delete from orgx.tasks where id = '{task_ids[0]}'",
            f"update orgx.tasks set title = 'wrong', _row_hash = 'wrong' where id = '{task_ids[1]}'",
            f"update orgx.tasks set deleted_at = now() where id = '{task_ids[2]}'",
        )
        box.world.delete("task", task_ids[3])
        box.world.now += timedelta(hours=1)
        box.world.edit("task", task_ids[4], title="newer")
        found = verify(box, ["tasks", "agents"])
        tasks = found.tables["tasks"]
        assert found.exit_code == 1
        assert (tasks.missing, tasks.extra, tasks.different, tasks.newer) == (2, 1, 2, 1)
        named = {(example.id, example.problem): example.columns for example in tasks.examples}
        assert named[task_ids[1], "different"] == ["title"]
        assert named[task_ids[4], "different"] == ["title", "updated_at"]
        assert {pair for pair in named if pair[1] != "different"} == {
            (task_ids[0], "missing"), (task_ids[2], "missing"), (task_ids[3], "extra"),
        }  # fmt: skip
        assert found.tables["agents"].exit_code == 0


def test_values_changed_by_hand_are_found_and_mended_by_a_full_run() -> None:
    with Sandbox(World("small")) as box:
        ids = list(box.world.find("task"))[:7]
        box.world.edit("task", ids[6], metadata={"b": [1e16, -0.0, 1.5e300, 2**63, {}], "a": "1E+16"}, note="", score=1)
        sync(box, ["tasks"])
        execute(
            "alter table orgx.tasks add column analyst_note integer",
            "update orgx.tasks set analyst_note = 7",
            f"update orgx.tasks set title = 'wrong' where id = '{ids[0]}'",
            f"update orgx.tasks set metadata = '{{\"by\": \"hand\"}}' where id = '{ids[1]}'",
            f"update orgx.tasks set created_at = '2020-01-01' where id = '{ids[2]}'",
            f"update orgx.tasks set note = '' where id = '{ids[3]}'",
            f"update orgx.tasks set _row_hash = 'wrong' where id = '{ids[4]}'",
            f"update orgx.tasks set last_changed_at = '2020-01-01' where id = '{ids[5]}'",
        )
        tasks = verify(box, ["tasks"]).tables["tasks"]
        assert {example.id: example.columns for example in tasks.examples} == {
            ids[0]: ["title"], ids[1]: ["metadata"], ids[2]: ["created_at"], ids[3]: ["note"], ids[4]: ["_row_hash"],
        }  # fmt: skip
        assert (tasks.different, tasks.missing, tasks.extra, tasks.exit_code) == (5, 0, 0, 1)
        versions = query("select count(*) from orgx.tasks_history")[0][0]
        report = sync(box, ["tasks"], full=True)
        assert (report.status, report.tables["tasks"].rows_changed) == ("ok", 5)
        assert verify(box, ["tasks"]).exit_code == 0
        # Where only the hash was changed, the history has this version.
        assert query("select count(*) from orgx.tasks_history") == [(versions,)]
        assert sync(box, ["tasks"], full=True).tables["tasks"].rows_changed == 0


def test_neither_writes_anything(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box:
        sync(box, ["tasks"])
        box.world.advance(days=1)
        before = query("select count(*), max(inserted_at) from orgx._dlt_loads")
        digest = hashlib.sha256(DATABASE.read_bytes()).hexdigest() if each_warehouse == "duckdb" else ""
        plan(box)
        verify(box, ["tasks"])
        assert query("select count(*), max(inserted_at) from orgx._dlt_loads") == before
        if digest:
            assert hashlib.sha256(DATABASE.read_bytes()).hexdigest() == digest
