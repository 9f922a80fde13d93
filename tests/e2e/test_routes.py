"""Routes that are closed to a key: the next one serves, and the report says what that costs."""

from __future__ import annotations

from orgx_source.sandbox import Fault, Sandbox, World
from tests.running import differences, query, stored, sync


def closed(path: str, status: int = 403, entity: str | None = None) -> Fault:
    return Fault("closed", status, path=path, entity=entity)


def test_initiatives_fall_back_to_the_live_list() -> None:
    with Sandbox(World("medium"), faults=[closed("/api/entities", 401)]) as box:
        table = sync(box, tables=["initiatives"]).tables["initiatives"]
        assert table.route == "/api/client/live/initiatives"
        assert table.closed_routes == ["/api/entities?type=initiative (401)"]
        assert stored("initiatives").keys() == {row["id"] for row in box.world.rows("initiative")}
        assert table.verdict == "certified"


def test_artifacts_fall_back_to_v1_and_then_to_each_entity() -> None:
    with Sandbox(World("small"), faults=[closed("/api/entities", entity="artifact")]) as box:
        table = sync(box, tables=["artifacts"]).tables["artifacts"]
        assert table.route == "/api/v1/artifacts"
        assert table.verdict == "uncertified"
        assert stored("artifacts").keys() == {row["id"] for row in box.world.rows("artifact")}
        box.inject(closed("/api/v1/artifacts", 404))
        table = sync(box, tables=["artifacts"], full=True).tables["artifacts"]
        assert table.route == "/api/client/artifacts/by-entity"
        assert "only artifacts of listed initiatives" in " ".join(table.reasons)
        assert differences(box.world, tables=["artifacts"]) == []


def test_decisions_fall_back_to_v1_and_say_that_full_answers_may_be_cut() -> None:
    with Sandbox(World("medium"), faults=[closed("/api/entities", entity="decision")]) as box:
        report = sync(box, tables=["decisions"])
        table = report.tables["decisions"]
        assert table.route == "/api/v1/decisions"
        assert "responses were full, older rows may be missing" in " ".join(table.reasons)
        known = {row["id"] for row in box.world.rows("decision")}
        assert stored("decisions").keys() < known
        assert len(stored("decisions")) > 100  # one question per status reached beyond the first answer


def test_tasks_fall_back_to_v1_work() -> None:
    with Sandbox(World("small"), faults=[closed("/api/entities", 404, entity="task")]) as box:
        table = sync(box, tables=["tasks"]).tables["tasks"]
        assert table.route == "/api/v1/work"
        assert "owned by the key's user" in " ".join(table.reasons)
        assert stored("tasks").keys() == {row["id"] for row in box.world.rows("task")}


def test_a_table_without_an_open_route_fails_alone() -> None:
    with Sandbox(World("small"), faults=[closed("/api/entities", entity="milestone")]) as box:
        report = sync(box, tables=["milestones", "agents"])
        assert (report.status, report.exit_code) == ("failed", 1)
        assert "no route is open to this key" in (report.tables["milestones"].error or "")
        assert report.tables["agents"].error is None
        assert query("select count(*) from orgx.agents") == [(9,)]


def test_a_route_that_opens_again_is_used_and_deletes_nothing() -> None:
    with Sandbox(World("small"), faults=[closed("/api/entities", entity="initiative")]) as box:
        sync(box, tables=["initiatives"])
        box.heal()
        table = sync(box, tables=["initiatives"]).tables["initiatives"]
        assert table.route == "/api/entities?type=initiative"
        assert table.rows_deleted == 0
        assert differences(box.world, tables=["initiatives"]) == []


def test_a_pinned_route_is_the_only_one() -> None:
    with Sandbox(World("small")) as box:
        pins = {"initiatives": "/api/client/live/initiatives"}
        table = sync(box, tables=["initiatives"], routes=pins).tables["initiatives"]
        assert table.route == "/api/client/live/initiatives"
        assert not any(seen.path == "/api/entities" for seen in box.requests)
        table = sync(box, tables=["initiatives"], routes={"initiatives": "/nowhere"}).tables["initiatives"]
        assert "it can be read from /api/entities?type=initiative" in (table.error or "")


def test_a_detour_over_a_narrow_route_wipes_no_column_and_writes_nothing_when_nothing_changed() -> None:
    with Sandbox(World("small")) as box:
        sync(box, tables=["initiatives"])
        before = stored("initiatives")
        box.inject(closed("/api/entities", entity="initiative"))
        table = sync(box, tables=["initiatives"]).tables["initiatives"]
        assert table.route == "/api/client/live/initiatives"
        changed = {row_id for row_id, row in stored("initiatives").items() if row != before[row_id]}
        # The live list tells a workspace under the older name, for rows that had none; nothing else differs.
        assert all(
            {k for k, v in stored("initiatives")[i].items() if before[i].get(k) != v}
            <= {"command_center_id", "last_changed_at", "_row_hash", "_dlt_load_id"}
            for i in changed
        )
        written = stored("initiatives")
        assert sync(box, tables=["initiatives"]).tables["initiatives"].rows_changed == 0
        assert stored("initiatives") == written
