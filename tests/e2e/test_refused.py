"""What a database refuses of one table: that table is named and given up, and the others load the same night."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

import tests.running
from orgx_source.sandbox import Sandbox, World
from tests.running import differences, execute, on_postgres, pipeline, query, sync

TABLES = ["agents", "tasks"]


@pytest.fixture
def postgres(postgres_server: Any) -> Iterator[None]:
    """Run on PostgreSQL."""
    with on_postgres(postgres_server):
        yield


def refuse_agents(box: Sandbox) -> str:
    agent, noise = box.world.rows("agent")[0], random.Random(3)
    execute("create index too_long on orgx.agents (name)")
    box.world.edit("agent", agent["id"], name="".join(noise.choice("abcdefghijklmnop0123456789") for _ in range(12_000)))
    return "index row"


def overflow_agents(box: Sandbox) -> str:
    agent = box.world.rows("agent")[0]
    box.world.edit("agent", agent["id"], **{f"field_{number}": "x" for number in range(1_700)})
    return "1600 columns"


def check_agents(box: Sandbox) -> str:
    execute("alter table orgx.agents add constraint short check (length(name) < 60)")
    box.world.edit("agent", box.world.rows("agent")[0]["id"], name="x" * 80)
    return "short"


@pytest.mark.usefixtures("postgres")
@pytest.mark.parametrize("spoil", [refuse_agents, overflow_agents, check_agents])
def test_a_table_that_postgres_refuses_is_named_each_night_and_the_others_load(spoil: Any) -> None:
    with Sandbox(World("small")) as box:
        assert sync(box, TABLES).exit_code == 0
        said = spoil(box)
        for night in range(2):
            task = box.world.rows("task")[night]
            box.world.edit("task", task["id"], title=f"night {night}")
            report = sync(box, TABLES)
            assert report.exit_code == 1, report.to_json()
            assert said in str(report.tables["agents"].error) and "agents" in str(report.tables["agents"].error)
            assert (report.error, report.tables["tasks"].verdict) == (None, "certified")
            assert differences(box.world, tables=["tasks"]) == []
            assert not pipeline().has_pending_data
    assert query("select status, count(*) from orgx.sync_log where table_name = 'agents' group by 1 order by 1") == [
        ("failed", 2),
        ("ok", 1),
    ]
