"""The source in a dlt pipeline of the user's own, without the command."""

from __future__ import annotations

from typing import Any

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from orgx_source import orgx_source
from orgx_source.errors import ConfigError
from orgx_source.sandbox import Fault, Sandbox, World
from orgx_source.source import OWN_PIPELINE
from orgx_source.tables import TABLES
from tests.harm import HARM, harmed
from tests.running import DATABASE, differences, query, stored


def pipeline() -> Any:
    return dlt.pipeline("mine", destination=dlt.destinations.duckdb(str(DATABASE)), dataset_name="orgx")


def load(box: Sandbox) -> None:
    pipeline().run(orgx_source(api_key=box.api_key, base_url=box.url).with_resources("tasks"))


def test_building_the_source_asks_nothing() -> None:
    with Sandbox() as box:
        source = orgx_source(api_key=box.api_key, base_url=box.url)
        assert set(source.resources) == set(TABLES)
        assert box.requests == []


def test_the_source_is_built_without_a_key_and_misses_it_when_it_is_read() -> None:
    source = orgx_source().with_resources("workspaces")
    with pytest.raises(PipelineStepFailed, match="No OrgX API key") as raised:
        pipeline().run(source)
    assert isinstance(raised.value.exception.__cause__ or raised.value.exception.__context__, ConfigError)


def test_a_pipeline_of_ones_own_is_told_once_what_it_does_not_get(caplog: pytest.LogCaptureFixture) -> None:
    with Sandbox(World("small")) as box, caplog.at_level("INFO", "orgx_source"):
        source = orgx_source(api_key=box.api_key, base_url=box.url).with_resources("workspaces")
        for _ in range(2):
            pipeline().run(source)
    assert [record.message for record in caplog.records].count(OWN_PIPELINE) == 1


def test_the_source_works_alone_and_a_second_run_writes_nothing() -> None:
    with Sandbox(World("small")) as box:
        pipeline().run(orgx_source(api_key=box.api_key, base_url=box.url))
        assert differences(box.world) == []
        before = stored("tasks")
        pipeline().run(orgx_source(api_key=box.api_key, base_url=box.url))
        assert stored("tasks") == before
        box.world.advance(days=1)
        pipeline().run(orgx_source(api_key=box.api_key, base_url=box.url))
        assert differences(box.world) == []


def test_one_source_object_serves_more_than_one_run() -> None:
    with Sandbox(World("small")) as box:
        source = orgx_source(api_key=box.api_key, base_url=box.url)
        pipeline().run(source)
        box.world.advance(days=1)
        pipeline().run(source)
        assert differences(box.world) == []


def test_chosen_resources_only() -> None:
    with Sandbox(World("small")) as box:
        source = orgx_source(api_key=box.api_key, base_url=box.url).with_resources("initiatives", "decisions")
        pipeline().run(source)
        found = query("select table_name from information_schema.tables where table_schema = 'orgx' order by 1")
        assert [name for (name,) in found if not name.startswith("_dlt")] == [
            "decisions", "decisions_history", "initiatives", "initiatives_history",
        ]  # fmt: skip
        assert {seen.params.get("type") for seen in box.requests} == {None, "initiative", "decision"}


def test_the_key_comes_from_dlts_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(World("small")) as box:
        monkeypatch.setenv("SOURCES__ORGX__API_KEY", box.api_key)
        monkeypatch.setenv("SOURCES__ORGX__BASE_URL", box.url)
        pipeline().run(orgx_source().with_resources("agents"))
        assert query("select count(*) from orgx.agents") == [(9,)]


def test_a_table_that_cannot_be_read_fails_the_pipeline_with_its_sentence() -> None:
    with Sandbox(World("small"), faults=[Fault("closed", 403, entity="milestone")]) as box:
        source = orgx_source(api_key=box.api_key, base_url=box.url).with_resources("milestones")
        with pytest.raises(PipelineStepFailed, match="milestones: no route is open to this key"):
            pipeline().run(source)


def test_a_file_that_has_the_datasets_name_is_refused_in_one_sentence() -> None:
    with Sandbox(World("small")) as box:
        clashing = dlt.pipeline("orgx", destination="duckdb", dataset_name="orgx")
        source = orgx_source(api_key=box.api_key, base_url=box.url).with_resources("agents")
        with pytest.raises(PipelineStepFailed, match="Rename one of them"):
            clashing.run(source)


def test_an_organisation_without_rows_still_gets_its_tables() -> None:
    with Sandbox(World("small")) as box:
        for row in box.world.rows("decision"):
            box.world.delete("decision", row["id"])
        pipeline().run(orgx_source(api_key=box.api_key, base_url=box.url).with_resources("decisions"))
        assert query("select count(id), count(resolved_at), count(deleted_at) from orgx.decisions") == [(0, 0, 0)]


@pytest.mark.parametrize("harm", HARM)
def test_what_a_load_lost_comes_with_the_next_run_although_nobody_looked(harm: str) -> None:
    with Sandbox(World("small")) as box:
        with harmed(f"tasks:{HARM[harm]}"):
            load(box)
        load(box)
        assert differences(box.world, tables=["tasks"]) == []
        assert query("select id from orgx.tasks group by id having count(*) > 1") == []
        before = query("select max(_dlt_load_id) from orgx.tasks")
        load(box)
        assert query("select max(_dlt_load_id) from orgx.tasks") == before
