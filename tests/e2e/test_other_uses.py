"""What dlt lets its users do with a source: followed where rows stay right, else refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from orgx_source import orgx_source
from orgx_source.sandbox import Sandbox, World
from orgx_source.sync import run_sync
from tests.running import differences, fast_client, pipeline, query, sync


def tasks_of(box: Sandbox, *others: str) -> Any:
    return orgx_source(api_key=box.api_key, base_url=box.url).with_resources(*others, "tasks")


def nothing_is_missing(box: Sandbox) -> None:
    assert differences(box.world, tables=["tasks"]) == []
    assert query("select count(*), count(distinct id) from orgx.tasks_history") == [(box.world.count("task"),) * 2]


@pytest.mark.usefixtures("each_warehouse")
@pytest.mark.parametrize("refresh", ["drop_sources", "drop_resources", "drop_data"])
def test_a_refresh_brings_every_row_and_a_version_of_each(refresh: Any) -> None:
    with Sandbox(World("small")) as box:
        pipeline().run(tasks_of(box))
        pipeline().run(tasks_of(box), refresh=refresh)
        nothing_is_missing(box)
        before = query("select max(_dlt_load_id) from orgx.tasks")
        pipeline().run(tasks_of(box))
        nothing_is_missing(box)
        assert query("select max(_dlt_load_id) from orgx.tasks") == before


def rename(source: Any) -> None:
    source.resources["tasks"].apply_hints(table_name="x")


def merge_on_titles(source: Any) -> None:
    source.resources["tasks"].apply_hints(primary_key="title")


def change_rows(source: Any) -> None:
    source.resources["tasks"].add_map(lambda rows: rows)


def replace(source: Any) -> None:
    source.resources["tasks"].apply_hints(write_disposition="replace")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (rename, "its table was renamed to x"),
        (merge_on_titles, "hints that determine which rows are kept were changed"),
        (change_rows, "a map, filter or other step was added to it"),
        (replace, "its write disposition was changed to replace"),
    ],
)
def test_what_would_lose_rows_is_refused_before_anything_is_asked_or_dropped(
    change: Callable[[Any], None], sentence: str
) -> None:
    with Sandbox(World("small")) as box:
        pipeline().run(tasks_of(box))
        # Before the first of them is read, whichever was changed.
        source = tasks_of(box, "initiatives")
        change(source)
        box.forget()
        with pytest.raises(PipelineStepFailed, match=sentence):
            pipeline().run(source)
        assert box.requests == []
        pipeline().run(tasks_of(box))
        nothing_is_missing(box)


@pytest.mark.parametrize("disposition", ["replace", "append"])
def test_a_write_disposition_for_the_whole_run_is_refused(disposition: Any) -> None:
    with Sandbox(World("small")) as box:
        pipeline().run(tasks_of(box))
        with pytest.raises(PipelineStepFailed, match="its write disposition was changed"):
            pipeline().run(tasks_of(box), write_disposition=disposition)
        nothing_is_missing(box)


def test_a_run_refuses_a_pipeline_that_drops_what_each_step_has_loaded() -> None:
    with Sandbox(World("small")) as box:
        client, mine = fast_client(box), pipeline()
        mine.refresh = "drop_sources"
        report = run_sync(client.config, mine, tables=["tasks"], client=client)
        assert report.exit_code == 3
        assert "refresh='drop_sources'" in str(report.error)


def test_a_run_refuses_a_destination_that_was_never_tested_before_it_reads() -> None:
    with Sandbox(World("small")) as box:
        client = fast_client(box)
        lake = dlt.pipeline("lake", destination=dlt.destinations.filesystem("lake"), dataset_name="orgx")
        report = run_sync(client.config, lake, tables=["workspaces"], client=client)
        assert (report.exit_code, box.count()) == (3, 0)
        assert "was never tested with this package" in str(report.error)


def test_without_marts_the_tables_are_filled_and_no_schema_is_made() -> None:
    with Sandbox(World("small")) as box:
        assert sync(box, ["tasks"], marts=False).status == "ok"
        assert differences(box.world, tables=["tasks"]) == []
        schemas = "select schema_name from information_schema.schemata where schema_name like 'orgx%' order by 1"
        assert query(schemas) == [("orgx",), ("orgx_staging",)]
        assert sync(box, ["tasks"], marts=True).status == "ok"
        assert ("orgx_marts",) in query(schemas)
