"""Answers of the sandbox that are true of another moment, of another key, or of nobody: what each switch does."""

from __future__ import annotations

from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from orgx_source.sandbox import Fault, Sandbox, World

PATH = "/api/entities"
OTHER_KEY = "oxk_other_00000000"


def ask(box: Sandbox, key: str | None = None, **params: Any) -> httpx.Response:
    """Ask for tasks."""
    headers = {"Authorization": f"Bearer {key or box.api_key}"}
    return httpx.get(box.url + PATH, params={"type": "task", "limit": 100, **params}, headers=headers)


@pytest.fixture
def world() -> World:
    """Return a world of three tasks of which one was edited, one deleted and one added a minute ago."""
    world = World("small")
    for task_id in list(world.find("task"))[3:]:
        world.delete("task", task_id)
    world.remember()
    first, second, _ = world.find("task")
    world.now += timedelta(minutes=9)
    world.edit("task", first, title="new title")
    world.delete("task", second)
    world.insert("task", id="added", title="added")
    world.insert("task", id="added too", title="added too")
    world.now += timedelta(minutes=1)
    return world


def test_a_stale_answer_shows_what_was_there(world: World) -> None:
    with Sandbox(world, faults=[Fault("stale", 300)]) as box:
        page = ask(box).json()
        assert len(page["data"]) == page["pagination"]["total"] == 3
        assert not {"new title", "added"} & {row["title"] for row in page["data"]}
        box.heal()
        page = ask(box).json()
        assert len(page["data"]) == page["pagination"]["total"] == 4
        assert {"new title", "added"} < {row["title"] for row in page["data"]}


def test_how_stale_may_differ_from_request_to_request(world: World) -> None:
    with Sandbox(world, faults=[Fault("stale", lambda number: (0, 300)[number % 2])]) as box:
        assert [ask(box).json()["pagination"]["total"] for _ in range(4)] == [4, 3, 4, 3]


@pytest.mark.parametrize(("fault", "total"), [(Fault("stale_total", 300), 3), (Fault("wrong_total", -2), 2)])
def test_a_total_may_be_another_one_than_that_of_the_rows(world: World, fault: Fault, total: int) -> None:
    with Sandbox(world, faults=[fault]) as box:
        page = ask(box).json()
        assert len(page["data"]) == 4
        assert page["pagination"]["total"] == total


def test_a_world_that_does_not_remember_says_so() -> None:
    world = World("small")
    with pytest.raises(ValueError, match="call remember"):
        world.at(world.now)


def test_a_parameter_may_be_refused(world: World) -> None:
    with Sandbox(world, faults=[Fault.parse("refuse=ids")]) as box:
        assert ask(box, ids="added").status_code == 400
        assert ask(box).status_code == 200


def test_the_date_may_be_wrong_or_missing(world: World) -> None:
    with Sandbox(world, faults=[Fault.parse("date_off=-5400")]) as box:
        told = parsedate_to_datetime(ask(box).headers["date"])
        assert world.now - told == timedelta(minutes=90)
        box.heal()
        box.inject(Fault("no_date"))
        assert "date" not in ask(box).headers


def test_another_key_sees_its_part(world: World) -> None:
    def sees(kind: str, row: dict[str, Any]) -> bool:
        return kind == "workspace" or row["id"] == "added"

    with Sandbox(world, other_keys={OTHER_KEY: sees}) as box:
        page = ask(box, OTHER_KEY).json()
        assert [row["id"] for row in page["data"]] == ["added"]
        assert page["pagination"]["total"] == 1
        assert ask(box).json()["pagination"]["total"] == 4
        assert ask(box, "oxk_wrong_00000000").status_code == 401
