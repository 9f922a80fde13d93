"""One simulated hour: work starts, ends and is reviewed; questions are asked and settled."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from orgx_source.sandbox.accounting import end_run, note_run, pass_hour_of_runs
from orgx_source.sandbox.founding import (
    AGENT_OF_DOMAIN,
    FINISHED,
    close_below,
    idle_agent,
    make_artifact,
    make_decision,
    make_event,
    make_run,
    make_workstream,
    pick,
    settlement,
)
from orgx_source.sandbox.vocabulary import AGENTS, AREAS, BLOCKERS, DOMAINS, INITIATIVES
from orgx_source.sandbox.world import Row, World, iso

SETTLED_MIX = (("approved", 70), ("declined", 14), ("superseded", 10), ("cancelled", 6))
DONE = frozenset({"done", "cancelled", "archived", "deleted"})
UNDER_WAY = frozenset({"active", "paused", "at_risk", "blocked", "planned"})
# Effects of one hour, as a share of the rows concerned.
TASKS_WORKED = 0.0015
INITIATIVES_MOVED = 0.004
RUNS_ENDED = 0.1
RUNS_BEGUN = 0.008
# How often an agent with an open run waits for its next step.
IDLE_BETWEEN_STEPS = 0.3
# An initiative is completed when at most this share of its tasks is open (they are cancelled), within some days.
LEFT_UNDONE = 0.15
INITIATIVES_COMPLETED = 0.015
ARTIFACTS_REVIEWED = 0.05
# By urgency: the share of questions answered within the first hour, and in each hour after it.
ANSWERED = {"critical": (0.75, 0.08), "high": (0.6, 0.03), "medium": (0.45, 0.012), "low": (0.2, 0.006)}


def pass_hour(world: World, step: timedelta) -> None:
    """Advance the clock and the work by one step."""
    world.now += step
    share = step / timedelta(hours=1)
    # Answers come before new questions: no question is asked and answered at the same time.
    _settle(world, share)
    _work(world, share)
    _end_runs(world, share)
    _review(world, share)
    _move_initiatives(world, share)
    _lose(world, share)
    pass_hour_of_runs(world, share)
    _refresh_agents(world)


def _times(world: World, expected: float) -> int:
    """Draw a Poisson-distributed count with this expected value."""
    limit, count, product = math.exp(-min(expected, 500)), 0, world.rng.random()
    while product > limit:
        count += 1
        product *= world.rng.random()
    return count


def _some(world: World, entity_type: str, statuses: tuple[str, ...], count: int) -> list[str]:
    """Draw ids of rows with one of these statuses, at most ``count``."""
    if not count:
        return []
    rows = world.listing(entity_type, ("in", statuses), partial(_of_status, statuses))
    return [row["id"] for row in world.rng.sample(rows, min(count, len(rows)))]


def _of_status(statuses: tuple[str, ...], rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["status"] in statuses]


def _work(world: World, share: float) -> None:
    tasks = world.find("task")
    waiting = world.listing("task", ("unfinished",), lambda rows: [r for r in rows if r["status"] not in DONE])
    expected = max(0.05, len(waiting) * TASKS_WORKED) * share
    for task_id in _some(world, "task", ("in_progress",), _times(world, expected)):
        task = tasks[task_id]
        if world.chance(0.1):
            world.edit("task", task_id, status="blocked")
            if world.chance(0.7):
                make_decision(world, task, world.now)
        else:
            _finish(world, task)
    for task_id in _some(world, "task", ("blocked",), _times(world, expected / 8)):
        world.edit("task", task_id, status="in_progress")
    for task_id in _some(world, "task", ("todo",), _times(world, expected * 0.6)):
        _start(world, tasks[task_id])
    _begin_runs(world, share)
    for task_id in _some(world, "task", ("done",), _times(world, expected / 30)):
        if _is_under_way(world, tasks[task_id]):
            world.edit("task", task_id, status="todo")
    for task_id in _some(world, "task", ("todo", "in_progress"), _times(world, expected / 6)):
        world.edit("task", task_id, title=tasks[task_id]["title"] + " (revised)"[: 10 if world.chance(0.5) else 0])
    for task_id in _some(world, "task", ("todo", "in_progress"), _times(world, expected * 0.6)):
        make_decision(world, tasks[task_id], world.now)


def _is_under_way(world: World, task: Row) -> bool:
    initiative = world.find("initiative").get(task["initiative_id"])
    return initiative is not None and initiative["status"] not in FINISHED


def _start(world: World, task: Row) -> None:
    world.edit("task", task["id"], status="in_progress")
    note_run(world, make_run(world, task, world.now, "running"))
    _roll_up(world, task)


def _finish(world: World, task: Row) -> None:
    world.edit("task", task["id"], status="done")
    for run in [r for r in world.listing("run", ("running",), _running) if r["task_id"] == task["id"]][:1]:
        _end_run(world, run)
    if world.chance(0.6):
        make_artifact(world, world.now, "draft", task)
    for other in world.children("task", task["milestone_id"]):
        if task["id"] in (other.get("depends_on") or ()) and other["status"] == "todo":
            _start(world, other)
            break
    _roll_up(world, task)


def _begin_runs(world: World, share: float) -> None:
    """Begin another run of tasks in progress whose last run has ended."""
    tasks, busy = world.find("task"), {run["task_id"] for run in world.listing("run", ("running",), _running)}
    started = world.listing("task", ("in", ("in_progress",)), partial(_of_status, ("in_progress",)))
    for task_id in _some(world, "task", ("in_progress",), _times(world, len(started) * RUNS_BEGUN * share)):
        if task_id not in busy:
            note_run(world, make_run(world, tasks[task_id], world.now, "running"))


def _end_runs(world: World, share: float) -> None:
    """End runs of agents, most within a day; a task may need another run."""
    for run in list(world.listing("run", ("running",), _running)):
        if world.now - datetime.fromisoformat(run["started_at"]) >= timedelta(hours=1) and world.chance(
            RUNS_ENDED * share
        ):
            _end_run(world, run)


def _end_run(world: World, run: Row) -> None:
    kind = "failed" if world.chance(0.1) else "completed"
    world.edit("run", run["id"], status=kind, completed_at=iso(world.now))
    name = next((name for agent_id, name, _ in AGENTS if agent_id == run["agent_id"]), "Agent")
    make_event(world, run, name, f"run_{kind}", world.now, phase="completed")
    end_run(world, run)


def _running(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["status"] == "running"]


def _roll_up(world: World, task: Row) -> None:
    """Propagate a task's change to its milestone, workstream and initiative."""
    siblings = [row["status"] for row in world.children("task", task["milestone_id"])]
    milestone = world.find("milestone").get(task["milestone_id"])
    if milestone is None or not siblings:
        return
    if all(status in DONE for status in siblings):
        status = "completed"
    elif "blocked" in siblings and "in_progress" not in siblings:
        status = "at_risk"
    elif "in_progress" in siblings or "done" in siblings:
        status = "in_progress"
    else:
        status = "planned"
    share = sum(s in DONE for s in siblings) / len(siblings)
    if (milestone["status"], milestone["progress_pct"]) == (status, round(share * 100)):
        return
    world.edit("milestone", milestone["id"], status=status, progress_pct=round(share * 100))
    _roll_up_workstream(world, task)


def _roll_up_workstream(world: World, task: Row) -> None:
    workstream = world.find("workstream").get(task["workstream_id"])
    if workstream is None:
        return
    own = world.children("milestone", workstream["id"])
    share = sum(float(row["progress_pct"] or 0) for row in own) / (100 * len(own))
    status = "completed" if share == 1 else "active" if share else workstream["status"]
    progress = {"progress": round(share, 2)} if "progress" in workstream else {"progress_pct": round(share * 100)}
    world.edit("workstream", workstream["id"], status=status, **progress)
    initiative = world.find("initiative").get(workstream["initiative_id"])
    if initiative is not None and initiative["status"] in ("active", "at_risk", "blocked"):
        step = world.rng.randrange(1, 4)
        world.edit("initiative", initiative["id"], progress_pct=min(99, int(initiative["progress_pct"] or 0) + step))


def _settle(world: World, share: float) -> None:
    """Settle many open questions within the hour, urgent ones first; the others wait for a day or more."""
    for row in world.listing("decision", ("open",), lambda rows: [r for r in rows if r["status"] == "pending"]):
        asked = datetime.fromisoformat(row["created_at"])
        waited = (world.now - asked) / timedelta(hours=1)
        within_the_hour, later = ANSWERED.get(row["urgency"], ANSWERED["medium"])
        if world.chance(min(1.0, (within_the_hour if waited <= 1 else later) * share)):
            # Within the last hour, but never before it was asked.
            moment = world.now - min(timedelta(hours=world.rng.random() * share), world.now - asked)
            world.edit("decision", row["id"], touch=False, **settlement(world, pick(world, SETTLED_MIX), moment))


def _review(world: World, share: float) -> None:
    expected = max(0.3, world.count("artifact") * 0.001) * share
    artifacts = world.find("artifact")
    # Reviews take about a day.
    for artifact_id in _some(world, "artifact", ("draft", "changes_requested"), _times(world, expected * 2)):
        world.edit("artifact", artifact_id, status="in_review")
    in_review = world.listing("artifact", ("in review",), lambda rows: [r for r in rows if r["status"] == "in_review"])
    reviewed = min(expected * 2, len(in_review) * ARTIFACTS_REVIEWED * share)
    for artifact_id in _some(world, "artifact", ("in_review",), _times(world, reviewed)):
        if world.chance(0.8):
            world.edit("artifact", artifact_id, status="approved")
        else:
            version = int(artifacts[artifact_id]["version"]) + 1
            world.edit("artifact", artifact_id, status="changes_requested", version=version)
    for artifact_id in _some(world, "artifact", ("approved",), _times(world, expected / 10)):
        world.edit("artifact", artifact_id, status="superseded")


def _move_initiatives(world: World, share: float) -> None:
    under_way = world.listing("initiative", ("under way",), lambda rows: [r for r in rows if r["status"] in UNDER_WAY])
    expected = max(0.05, len(under_way) * INITIATIVES_MOVED) * share
    moves = (
        ("active", "paused", 0.2), ("paused", "active", 0.4), ("active", "at_risk", 0.3), ("at_risk", "active", 0.5),
        ("planned", "active", 0.5), ("draft", "planned", 0.4), ("blocked", "active", 0.4),
        ("completed", "archived", 0.1),
    )  # fmt: skip
    for before, after, weight in moves:
        for initiative_id in _some(world, "initiative", (before,), _times(world, expected * weight)):
            world.edit("initiative", initiative_id, status=after)
    _complete_initiatives(world, len(under_way) * INITIATIVES_COMPLETED * share)
    if world.chance(min(1.0, expected * 0.02)):
        _begin(world)


def _complete_initiatives(world: World, expected: float) -> None:
    """Complete some initiatives whose tasks are done. Another one begins for each, so that the agents have work."""
    for initiative_id in _some(world, "initiative", ("active", "at_risk"), _times(world, expected)):
        states = [row["status"] for row in world.find("task").values() if row["initiative_id"] == initiative_id]
        if sum(status not in DONE for status in states) > LEFT_UNDONE * len(states):
            continue
        world.edit("initiative", initiative_id, status="completed", progress_pct=100)
        close_below(world, initiative_id, updated_at=iso(world.now))
        _begin(world)


def _begin(world: World) -> None:
    domain = world.rng.choice(DOMAINS)
    made = world.now
    agent_id, name = AGENT_OF_DOMAIN[domain]
    initiative = world.insert(
        "initiative",
        title=f"{world.rng.choice(INITIATIVES[domain])} {world.rng.choice(AREAS)}",
        summary="New.",
        status="active",
        priority="medium",
        progress_pct=0,
        start_date=made.date().isoformat(),
        target_date=None,
        workspace_id=world.rng.choice(list(world.find("workspace"))),
        domain=domain,
        visibility="workspace",
        health_score=None,
        assigned_agent_ids=[agent_id],
        assigned_agent_names=[name],
        metadata={"origin": "scaffold"},
    )
    previous: str | None = None
    for sequence in range(world.rng.randint(3, 5)):
        previous = make_workstream(world, initiative, sequence, previous, made, settle="planned")


def _lose(world: World, share: float) -> None:
    """Archive some rows and permanently delete very few."""
    for task_id in _some(world, "task", ("todo",), _times(world, max(0.02, world.count("task") * 2e-5) * share)):
        world.edit("task", task_id, status="archived")
    for entity_type, rate in (("task", 4e-6), ("artifact", 2e-5), ("decision", 1e-5)):
        statuses: tuple[Any, ...] = {"task": ("todo", "archived"), "artifact": ("draft", "archived")}.get(
            entity_type, ("cancelled", "superseded")
        )
        for row_id in _some(
            world, entity_type, statuses, _times(world, max(0.01, world.count(entity_type) * rate) * share)
        ):
            world.delete(entity_type, row_id)


def _refresh_agents(world: World) -> None:
    """Show each agent's newest open run; other agents are idle."""
    runs = {run["agent_id"]: run for run in world.listing("run", ("running",), _running)}
    for agent_id, name, domain in AGENTS:
        run = runs.get(agent_id)
        before = world.find("agent")[agent_id]
        if run is None or world.rng.random() < IDLE_BETWEEN_STEPS:
            after = idle_agent(agent_id, name, domain)
        else:
            state = world.rng.choices(("running", "queued", "blocked"), (25, 8, 7))[0]
            after = idle_agent(agent_id, name, domain) | {
                "status": state,
                "current_task": run["title"],
                "progress": world.rng.randrange(0, 100) if state != "queued" else 0,
                "run_id": run["id"],
                "initiative_id": run["initiative_id"],
                "started_at": run["started_at"],
                "blockers": [world.rng.choice(BLOCKERS)] if state == "blocked" else [],
            }
        if after != before:
            world.edit("agent", agent_id, **after)
