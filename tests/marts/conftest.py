"""A small organisation, read four times, with known content: the expected results of the marts are counted by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from orgx_source.sandbox import Sandbox, World
from orgx_source.sync import run_sync
from tests.running import OPTIONAL_KINDS, fast_client, on_postgres, pipeline, query

Ask = Callable[[str], list[tuple[Any, ...]]]


def at(text: str) -> datetime:
    """Return ``14 06:30`` as a time in April 2026, UTC."""
    return datetime.strptime(f"2026-04-{text} +0000", "%Y-%m-%d %H:%M %z").astimezone(UTC)


def iso(text: str) -> str:
    return at(text).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def stamps(made: str, changed: str | None = None) -> dict[str, str]:
    return {"created_at": iso(made), "updated_at": iso(changed or made)}


def empty_world() -> World:
    world = World("small")
    for kind in OPTIONAL_KINDS.values():
        for row_id in list(world.find(kind)):
            world.delete(kind, row_id)
    for kind in ("activity", "artifact", "decision", "task", "milestone", "workstream", "initiative", "agent"):
        for row_id in list(world.find(kind)):
            world.delete(kind, row_id)
    return world


def found(world: World) -> None:
    """Insert everything that exists at the first read."""
    insert = world.insert
    for agent_id, name in (("engineering-agent", "Eli"), ("product-agent", "Pace"), ("product-onboarding", "Pace")):
        insert("agent", id=agent_id, name=name, domain="product", status="idle", blockers=[], run_id=None)
    insert(
        "initiative", id="alpha", title="Alpha", status="active", progress_pct=40, target_date="2026-04-14",
        assigned_agent_names=["Eli"], **stamps("01 06:00", "10 06:00"),
    )  # fmt: skip
    insert("initiative", id="beta", title="Beta", status="at_risk", progress_pct=0.25, **stamps("11 06:00"))
    insert("initiative", id="gamma", title="Gamma", status="archived", progress_pct=1, **stamps("02 06:00"))
    for task_id, status in (
        ("t1", "todo"),
        ("t2", "in_progress"),
        ("t3", "blocked"),
        ("t4", "done"),
        ("t5", "archived"),
    ):
        insert(
            "task", id=task_id, title=task_id.upper(), status=status, initiative_id="alpha",
            assigned_agent_ids=["engineering-agent"], **stamps("05 06:00", "09 06:00"),
        )  # fmt: skip
    insert("task", id="t6", title="T6", status="todo", initiative_id="beta", **stamps("11 06:00"))
    insert(
        "decision", id="d1", title="Go?", status="pending", urgency="critical", agent_id="engineering-agent",
        initiative_id="alpha", task_id="t3", blocks_task=True, **stamps("13 00:00"),
    )  # fmt: skip
    insert(
        "decision", id="d2", title="Which?", status="approved", urgency="low", agent_name="Pace",
        resolved_at=iso("12 06:00"), **stamps("12 00:00", "12 06:00"),
    )  # fmt: skip
    insert("decision", id="d3", title="Old", status="rejected", urgency="urgent", **stamps("11 00:00", "11 12:00"))
    insert("decision", id="d4", title="Gone", status="pending", initiative_id="beta", **stamps("12 18:00"))
    insert(
        "artifact", id="a1", name="A1", status="draft", version=1, created_by_type="agent", initiative_id="alpha",
        created_by_id="product-onboarding", **stamps("12 06:00"),
    )  # fmt: skip
    insert(
        "artifact", id="a2", name="A2", status="in_review", version=3, created_by_type="human", created_by_id="user_1",
        **stamps("12 12:00"),
    )  # fmt: skip
    insert(
        "artifact", id="a3", name="A3", status="approved", version=1, created_by_type="agent",
        created_by_id="engineering-agent", **stamps("10 06:00", "11 06:00"),
    )  # fmt: skip
    happened = (
        ("e1", "run_started", "engineering-agent", "r1", "12 01:00", 0.5),
        ("e2", "run_completed", "engineering-agent", "r1", "12 03:00", None),
        ("e3", "run_started", "product-onboarding", "r2", "12 05:00", None),
        ("e4", "run_failed", "product-onboarding", "r2", "12 05:30", 0.25),
    )
    for event_id, kind, agent_id, run_id, when, cost in happened:
        insert(
            "activity", id=event_id, type=kind, title=kind, agent_id=agent_id, run_id=run_id, timestamp=iso(when),
            initiative_id="alpha", cost_delta=cost,
        )  # fmt: skip


def live(world: World, until: str, *steps: tuple[str, Callable[[], Any]]) -> None:
    """Apply changes at their times, then advance to ``until``."""
    for when, step in steps:
        world.now = at(when)
        step()
    world.now = at(until)


def tell_the_story(box: Sandbox) -> None:
    world = box.world
    found(world)

    def read() -> None:
        client = fast_client(box)
        report = run_sync(client.config, pipeline(), client=client, clock=lambda: world.now)
        assert report.exit_code == 0, report.to_json()

    running = {"status": "running", "run_id": "r3", "current_task": "T1", "started_at": iso("14 05:00")}
    live(world, "13 06:00")
    read()
    live(
        world,
        "14 06:00",
        ("13 18:00", lambda: world.edit("task", "t1", status="in_progress")),
        ("13 20:00", lambda: world.edit("decision", "d1", status="approved", resolved_at=iso("13 20:00"))),
        ("13 22:00", lambda: world.edit("artifact", "a1", status="in_review")),
        ("14 00:00", lambda: world.edit("task", "t2", status="done")),
        ("14 05:00", lambda: world.edit("agent", "engineering-agent", **running)),
    )
    read()
    live(
        world,
        "15 06:00",
        ("14 10:00", lambda: world.edit("artifact", "a1", status="approved")),
        ("14 11:00", lambda: world.delete("task", "t3")),
        ("14 11:00", lambda: world.delete("decision", "d4")),
        ("14 12:00", lambda: world.edit("initiative", "alpha", status="completed", progress_pct=100)),
    )
    read()
    new_task = {"id": "t7", "title": "T7", "status": "todo", "initiative_id": "beta"}
    live(
        world,
        "16 06:00",
        ("15 08:00", lambda: world.insert("task", **new_task)),
        ("15 09:00", lambda: world.edit("agent", "product-agent", status="running", blockers=["no access"])),
    )
    read()


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def ask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Query the warehouse that was filled by the four reads; numbers are converted to Python's."""
    place, before = tmp_path_factory.mktemp("story"), Path.cwd()
    os.chdir(place)
    try:
        with (
            mock.patch.dict(os.environ, DLT_DATA_DIR=str(place / "dlt"), ORGX_OPTIONAL_TABLES="none"),
            Sandbox(empty_world()) as box,
        ):
            if request.param == "duckdb":
                tell_the_story(box)
                database = place / "x.duckdb"
                yield lambda sql: query(sql, database)
            else:
                with on_postgres(request.getfixturevalue("postgres_server")):
                    tell_the_story(box)
                    yield query
    finally:
        os.chdir(before)
