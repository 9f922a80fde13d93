"""An organisation that has nothing yet: every table is there, and what comes later gets in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orgx_source.sandbox import Sandbox
from orgx_source.tables import TABLES
from tests.marts.conftest import empty_world
from tests.running import differences, query, sync

pytestmark = pytest.mark.usefixtures("each_warehouse")


@pytest.mark.parametrize("new_machine", [False, True], ids=["same machine", "new machine"])
def test_rows_that_come_after_an_empty_read_get_in(new_machine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORGX_OPTIONAL_TABLES")
    with Sandbox(empty_world()) as box:
        assert sync(box).status == "ok"
        for name, table in TABLES.items():
            found = query(f"select {', '.join(column.name for column in table.columns)} from orgx.{name}")
            assert len(found) == (name in ("workspaces", "usage"))
        if new_machine:
            shutil.rmtree(Path("dlt"))
        for kind in ("initiative", "task", "decision", "artifact"):
            box.world.insert(kind, title=kind, status="todo")
        box.world.insert("agent", id="a", name="A", status="idle")
        box.world.insert("activity", id="e", type="run_started", timestamp="2026-04-13T06:00:00.000Z")
        report = sync(box)
        assert report.status == "ok", report.to_json()
        found = query("select count(*) from orgx.tasks union all select count(*) from orgx.tasks_history")
        assert found == [(1,), (1,)]
        assert differences(box.world, tables=["initiatives", "tasks", "decisions", "agents", "activity"]) == []
