"""Creates an organisation: some 110 days of history, with the volumes and status mixes of a real one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from orgx_source.sandbox.accounting import note_run
from orgx_source.sandbox.vocabulary import (
    AGENTS,
    ALIAS_AGENT,
    AREAS,
    ARTIFACT_TYPES,
    BLOCKERS,
    DECISIONS,
    DOMAINS,
    HOURS_BY_STEP,
    INITIATIVES,
    MILESTONES,
    PSEUDO_AGENT,
    SUBJECTS,
    TASK_STEPS,
    TOKENS_PER_HOUR,
    USD_PER_1000_TOKENS,
)
from orgx_source.sandbox.world import Row, World, iso

HISTORY_DAYS = 110
AGENT_OF_DOMAIN = {domain: (agent_id, name) for agent_id, name, domain in AGENTS}

INITIATIVE_MIX = (
    ("active", 45), ("completed", 20), ("paused", 10), ("draft", 5), ("planned", 5), ("blocked", 4), ("at_risk", 3),
    ("archived", 5), ("cancelled", 2), ("deleted", 1),
)  # fmt: skip
WORKSTREAM_MIX = (("active", 35), ("planned", 15), ("ready", 10), ("completed", 25), ("blocked", 8), ("paused", 7))
MILESTONE_MIX = (("planned", 40), ("in_progress", 25), ("completed", 27), ("at_risk", 6), ("cancelled", 2))
# Within active milestones; with the planned and the finished ones, 45, 15, 35 and 5 of 100 tasks.
TASK_MIX = (("todo", 20), ("in_progress", 40), ("done", 27), ("blocked", 13))
DECISION_MIX = (("pending", 5), ("approved", 68), ("declined", 13), ("superseded", 9), ("cancelled", 5))
ARTIFACT_MIX = (
    ("approved", 45), ("in_review", 20), ("draft", 20), ("changes_requested", 7), ("superseded", 5), ("archived", 3),
)  # fmt: skip
RUN_MIX = (("completed", 78), ("failed", 10), ("running", 5), ("queued", 3), ("cancelled", 3), ("blocked", 1))
URGENCY_MIX = (("medium", 45), ("high", 30), ("low", 15), ("critical", 10))
ATTACHED_MIX = (("task", 60), ("milestone", 10), ("workstream", 10), ("initiative", 15), ("decision", 5))
# Factor on the usual wait of a question with this urgency.
PATIENCE = {"critical": 0.35, "high": 0.7, "medium": 1.2, "low": 2.5}
FINISHED = frozenset({"completed", "archived", "cancelled", "deleted"})
PRIORITIES = ("low", "medium", "medium", "high", "urgent")
SHAPES = ("generic", "artifact_review", "budget_approval", "option_select", "plan_adjust", "escalation")


def pick(world: World, mix: Sequence[tuple[str, int]]) -> str:
    """Return one of the names, by weight."""
    names, weights = zip(*mix, strict=True)
    return str(world.rng.choices(names, weights)[0])


def found(world: World, initiatives: int) -> None:
    """Fill an empty world."""
    workspaces = 1 if world.size == "small" else 2
    for number in range(workspaces):
        world.insert("workspace", name=("Northwind Labs", "Northwind Field")[number])
    homes = list(world.find("workspace"))
    for number in range(initiatives):
        _found_initiative(world, number, homes[0] if number % 5 else homes[-1])
    per_initiative = {"small": (40, 80, 150), "medium": (400, 900, 2_000), "large": (4_000, 9_000, 6_000)}[world.size]
    tasks = list(world.find("task").values())
    for _ in range(per_initiative[0]):
        status = pick(world, DECISION_MIX)
        # Pending questions are at most three days old.
        asked = world.now - timedelta(days=3 * world.rng.random() ** 2) if status == "pending" else _long_ago(world)
        make_decision(world, world.rng.choice(tasks), asked, status)
    for _ in range(per_initiative[1]):
        make_artifact(world, _long_ago(world), pick(world, ARTIFACT_MIX))
    for _ in range(per_initiative[2]):
        make_run(world, world.rng.choice(tasks), _long_ago(world) - timedelta(hours=1), pick(world, RUN_MIX))
    _age(world)
    for initiative in list(world.find("initiative").values()):
        if initiative["status"] in FINISHED:
            close_below(world, initiative["id"])
    for agent_id, name, domain in (*AGENTS, ALIAS_AGENT, PSEUDO_AGENT):
        world.insert("agent", **idle_agent(agent_id, name, domain))
    for run in list(world.find("run").values()):
        note_run(world, run)


def close_below(world: World, initiative_id: str, **stamp: str) -> None:
    """Cancel the open tasks of a finished initiative, and the questions that no longer need an answer.

    Args:
        world: The organisation.
        initiative_id: The initiative.
        stamp: ``updated_at`` of the rows; by default unchanged.
    """
    for kind, is_open in (("task", ("todo", "in_progress", "blocked")), ("decision", ("pending",))):
        for row in list(world.find(kind).values()):
            if row.get("initiative_id") == initiative_id and row["status"] in is_open:
                settled = {"resolved_at": iso(world.now)} if kind == "decision" else {}
                world.edit(kind, row["id"], touch=False, status="cancelled", **settled, **stamp)


def _long_ago(world: World) -> Any:
    return world.now - timedelta(days=HISTORY_DAYS * world.rng.random() ** 1.5, milliseconds=world.rng.randrange(1000))


def _times(world: World, made: Any, status: str) -> dict[str, Any]:
    """Return created_at and updated_at: rows that are not new were changed some time after their creation."""
    fresh = status in ("draft", "planned", "todo", "pending", "queued")
    age = (world.now - made) * world.rng.random() * (0.1 if fresh else 1.0)
    return {"created_at": iso(made), "updated_at": iso(made + age)}


def _found_initiative(world: World, number: int, workspace: str) -> None:
    rng, made = world.rng, _long_ago(world)
    domain = DOMAINS[number % len(DOMAINS)]
    status = pick(world, INITIATIVE_MIX)
    progress = {"completed": 100, "draft": 0, "planned": 0}.get(status, rng.randrange(5, 95))
    row: Row = {
        "title": f"{rng.choice(INITIATIVES[domain])} {rng.choice(AREAS)}",
        "summary": f"Move {domain} work {rng.choice(AREAS)} from plan to result.",
        "status": status,
        "priority": rng.choice(PRIORITIES),
        "progress_pct": progress,
        "start_date": made.date().isoformat(),
        "target_date": (made + timedelta(days=35)).date().isoformat() if world.chance(0.7) else None,
        "workspace_id": workspace,
        "domain": domain,
        "visibility": rng.choice(("private", "workspace", "public")),
        "health_score": rng.randrange(40, 100) if world.chance(0.8) else None,
        "assigned_agent_ids": [AGENT_OF_DOMAIN[domain][0]],
        "assigned_agent_names": [AGENT_OF_DOMAIN[domain][1]],
        "metadata": {"origin": "scaffold", "tags": rng.sample(("q2", "growth", "core", "risk"), 2)},
        **_times(world, made, status),
    }
    if world.chance(0.2):
        row["command_center_id"] = row["workspace_id"]
    if world.chance(0.1):
        del row["workspace_id"]
    initiative = world.insert("initiative", **row)
    previous: str | None = None
    for sequence in range(rng.randint(3, 6)):
        previous = make_workstream(world, initiative, sequence, previous, made, settle=status)


def make_workstream(
    world: World, initiative: Row, sequence: int, previous: str | None, made: Any, *, settle: str = "active"
) -> str:
    """Add a workstream with its milestones and tasks; return its id."""
    rng, domain = world.rng, DOMAINS[(sequence + len(initiative["title"])) % len(DOMAINS)]
    status = {"completed": "completed", "draft": "planned", "planned": "planned"}.get(settle) or pick(
        world, WORKSTREAM_MIX
    )
    share = 1.0 if status == "completed" else round(rng.random() * 0.9, 2) if status != "planned" else 0.0
    agent = AGENT_OF_DOMAIN[domain]
    row: Row = {
        "name": f"{domain.capitalize()}: {initiative['title']}",
        "status": status,
        "initiative_id": initiative["id"],
        "domain": domain,
        "persona": agent[1],
        "sequence": sequence,
        "depends_on": [previous] if previous else [],
        "assigned_agent_ids": [agent[0]],
        "expected_tokens": 18_000 + 6_500 * rng.randrange(1, 20),
        "blockers": [rng.choice(BLOCKERS)] if status == "blocked" else [],
        "metadata": {"ref": f"WS-{sequence + 1}", "agent_domain": domain},
        **_times(world, made, status),
    }
    # OrgX shows progress as a fraction in some places and in percent in others.
    row |= {"progress": share} if world.chance(0.5) else {"progress_pct": round(share * 100)}
    if initiative.get("workspace_id"):
        row["workspace_id"] = initiative["workspace_id"]
    workstream = world.insert("workstream", **row)
    for number in range(rng.randint(1, 3)):
        _make_milestone(world, workstream, number, made)
    return str(workstream["id"])


def _make_milestone(world: World, workstream: Row, sequence: int, made: Any) -> None:
    rng = world.rng
    status = {"completed": "completed", "planned": "planned"}.get(workstream["status"]) or pick(world, MILESTONE_MIX)
    milestone = world.insert(
        "milestone",
        title=f"{MILESTONES[sequence % len(MILESTONES)]}: {workstream['name']}",
        description="What counts as reached, and how it is checked." if world.chance(0.5) else None,
        status=status,
        progress_pct={"completed": 100, "planned": 0}.get(status, rng.randrange(10, 90)),
        due_date=(made + timedelta(days=7 * (sequence + 1))).date().isoformat() if world.chance(0.2) else None,
        initiative_id=workstream["initiative_id"],
        workstream_id=workstream["id"],
        sequence=sequence,
        metadata={"ref": f"MS-{sequence + 1}"},
        **({"workspace_id": workstream["workspace_id"]} if "workspace_id" in workstream else {}),
        **_times(world, made, status),
    )
    previous: str | None = None
    # A scaffold creates the tasks of a milestone in one transaction: they share a timestamp.
    together = iso(made)
    for number in range(rng.randint(2, 5)):
        previous = make_task(world, milestone, number, previous, together)


def make_task(world: World, milestone: Row, sequence: int, previous: str | None, made: str) -> str:
    """Add a task to a milestone; return its id."""
    rng = world.rng
    step, kind = TASK_STEPS[sequence % len(TASK_STEPS)]
    status = {"completed": "done", "planned": "todo"}.get(milestone["status"]) or pick(world, TASK_MIX)
    domain = rng.choice(DOMAINS)
    hours = HOURS_BY_STEP[kind] * (1.4 if world.chance(0.1) else 1.0)
    tokens = round(hours * TOKENS_PER_HOUR)
    row: Row = {
        "title": f"{_subject(world, milestone)} {step}",
        "description": f"Do the {step} and leave an artifact." if world.chance(0.6) else None,
        "status": status,
        "priority": rng.choice(PRIORITIES),
        "due_date": milestone.get("due_date") if world.chance(0.3) else None,
        "initiative_id": milestone["initiative_id"],
        "workstream_id": milestone["workstream_id"],
        "milestone_id": milestone["id"],
        "sequence": sequence,
        "type": kind,
        "agent_domain": domain,
        "assigned_agent_ids": [AGENT_OF_DOMAIN[domain][0]],
        "depends_on": [previous] if previous else [],
        "expected_duration_hours": round(hours, 2),
        "expected_tokens": tokens,
        "expected_budget_usd": round(tokens / 1000 * USD_PER_1000_TOKENS, 4),
        "metadata": {"ref": f"T-{world.count('task') + 1}", "estimate": {"hours": hours, "confidence": 0.7}},
        "created_at": made,
        "updated_at": made,
    }
    if milestone.get("workspace_id"):
        row["workspace_id"] = milestone["workspace_id"]
    return str(world.insert("task", **row)["id"])


def _subject(world: World, milestone: Row) -> str:
    """Draw the subject of a task from those of its initiative."""
    title = world.find("initiative")[milestone["initiative_id"]]["title"]
    subjects = next((found for name, found in SUBJECTS.items() if title.startswith(name)), ("work",))
    # Always drawn from seven, so that the same seed keeps creating the same organisation.
    subject = subjects[world.rng.choice(range(7)) % len(subjects)]
    return subject[0].upper() + subject[1:]


def make_decision(world: World, task: Row, asked: Any, status: str = "pending") -> Row:
    """Add a decision that blocks a task, asked at the given time."""
    rng = world.rng
    agent_id, name, domain = rng.choice(AGENTS)
    minutes = min(rng.lognormvariate(3.22, 1.6), 3 * 24 * 60)
    is_over = asked + timedelta(minutes=minutes) < world.now
    row: Row = {
        "title": f"{rng.choice(DECISIONS)}: {task['title'].lower()}",
        "summary": "An agent cannot go on without an answer.",
        "status": status,
        "urgency": pick(world, URGENCY_MIX),
        "shape": rng.choice(SHAPES),
        "blocks_task": world.chance(0.6),
        "initiative_id": task["initiative_id"],
        "workstream_id": task["workstream_id"],
        "task_id": task["id"],
        "agent_id": agent_id,
        "agent_name": name,
        "domain": domain,
        "options": [{"id": "a", "label": "Go ahead"}, {"id": "b", "label": "Change the plan"}],
        "evidence_refs": [{"evidence_type": "artifact", "title": "Draft", "confidence": 0.8}],
        "source_system": "agent" if world.chance(0.9) else "system",
        "metadata": {"policy_key": "spend" if world.chance(0.2) else "scope"},
        "created_at": iso(asked),
        "updated_at": iso(asked),
        "resolved_at": None,
    }
    minutes *= PATIENCE[row["urgency"]]
    row["waiting_minutes"] = round(minutes)
    if world.chance(0.1):
        row["expected_cost_usd"] = round(rng.uniform(5, 500), 2)
    if task.get("workspace_id"):
        row["workspace_id"] = task["workspace_id"]
    if status != "pending" and is_over:
        row |= settlement(world, status, min(asked + timedelta(minutes=minutes), world.now))
    elif status != "pending":
        row["status"] = "pending"
    return world.insert("decision", **row)


def settlement(world: World, status: str, at: Any) -> Row:
    """Return the fields that a decision gains when it is settled; old ones use the older word for a refusal."""
    if status == "declined" and world.now - at > timedelta(days=80):
        status = "rejected"
    chosen = "a" if status == "approved" else "b"
    return {
        "status": status,
        "resolved_at": iso(at),
        "updated_at": iso(at),
        "resolution_summary": f"Settled as {status}.",
        "option_id": chosen,
        "decided_by": f"user_{world.rng.randrange(1, 9)}",
    }


def make_artifact(world: World, made: Any, status: str = "draft", task: Row | None = None) -> Row:
    """Add an artifact, attached to a task or to something else."""
    rng = world.rng
    entity_type = "task" if task else pick(world, ATTACHED_MIX)
    entity = task or rng.choice(world.listing(entity_type, ("all",), list))
    by_agent = world.chance(0.7)
    agent_id, name, domain = rng.choice(AGENTS)
    creator = agent_id if by_agent else f"user_{rng.randrange(1, 9)}" if world.chance(0.5) else world.new_id()
    kind = rng.choice(ARTIFACT_TYPES)
    metadata: Row = {"confidence_score": round(rng.random(), 2)}
    if world.chance(0.3):
        metadata |= {"preview_markdown": f"# {kind}\n\n" + "A line of the draft.\n" * rng.randrange(1, 60)}
    row: Row = {
        "name": f"{kind.split('.')[-1].replace('_', ' ').capitalize()}: {str(entity.get('title') or 'work').lower()}",
        "description": "What came out of it." if world.chance(0.5) else None,
        "artifact_type": kind,
        "artifact_url": f"https://files.example/{world.count('artifact') + 1}",
        "status": status,
        "version": 1 + (rng.randrange(3) if status in ("approved", "superseded") else 0),
        "entity_type": entity_type,
        "entity_id": entity["id"],
        "initiative_id": entity["id"] if entity_type == "initiative" else entity.get("initiative_id"),
        "task_id": entity["id"] if entity_type == "task" else None,
        "created_by_type": "agent" if by_agent else "human",
        "created_by_id": creator,
        "created_by_name": name if by_agent else None,
        "catalog": {"label": kind, "domain": domain, "stage": "delivery"} if world.chance(0.4) else None,
        "quality_score": round(rng.uniform(0.5, 1), 2) if world.chance(0.5) else None,
        "metadata": metadata,
        **_times(world, made, status),
    }
    if entity.get("workspace_id"):
        row["workspace_id"] = entity["workspace_id"]
    return world.insert("artifact", **row)


def make_run(world: World, task: Row, started: Any, status: str) -> Row:
    """Add an agent's run on a task, with its events."""
    rng = world.rng
    agent_id, name, _ = rng.choice(AGENTS)
    ended = min(started + timedelta(minutes=rng.lognormvariate(3.5, 0.9)), world.now)
    over = status in ("completed", "failed", "cancelled")
    run = world.insert(
        "run",
        title=task["title"],
        status=status,
        agent_id=agent_id,
        initiative_id=task["initiative_id"],
        task_id=task["id"],
        started_at=iso(started) if status != "queued" else None,
        completed_at=iso(ended) if over else None,
        created_at=iso(started),
        updated_at=iso(ended if over else started),
    )
    make_event(world, run, name, "run_started", started, phase="execution")
    for _ in range(rng.randrange(2, 5)):
        between = started + (ended - started) * rng.random()
        make_event(world, run, name, rng.choice(("artifact_created", "delegation", "handoff_requested")), between)
    if status in ("completed", "failed"):
        make_event(world, run, name, f"run_{status}", ended, phase="completed")
    return run


def make_event(world: World, run: Row, agent: str, kind: str, at: Any, *, phase: str | None = None) -> None:
    """Append an event to the activity feed."""
    world.insert(
        "activity",
        id=f"evt_{world.count('activity') + 1:08d}",
        type=kind,
        title=f"{agent}: {kind.replace('_', ' ')}",
        agent_id=run["agent_id"],
        agent_name=agent,
        run_id=run["id"],
        initiative_id=run["initiative_id"],
        timestamp=iso(at),
        phase=phase,
        cost_delta=round(world.rng.random(), 4) if world.chance(0.3) else None,
        metadata={"task": run["title"]},
    )


def idle_agent(agent_id: str, name: str, domain: str) -> Row:
    """Return the snapshot row of an idle agent."""
    return {
        "id": agent_id,
        "name": name,
        "domain": domain,
        "status": "idle",
        "current_task": None,
        "progress": None,
        "run_id": None,
        "initiative_id": None,
        "started_at": None,
        "blockers": [],
        "instance_count": 1,
    }


def _age(world: World) -> None:
    """Give the rows the flaws of a real organisation: rows without updated_at, and bulk updates that share one."""
    rng = world.rng
    for entity_type in ("initiative", "workstream", "milestone", "task", "decision", "artifact"):
        ids = list(world.find(entity_type))
        rows = world.find(entity_type)
        if entity_type == "task":
            for row in rows.values():
                if row["status"] != "todo":
                    made = _parse(row["created_at"])
                    row["updated_at"] = iso(made + (world.now - made) * rng.random())
        for row_id in rng.sample(ids, max(1, len(ids) // 100)):
            rows[row_id]["updated_at"] = None
        bulk = rng.sample(ids, min(len(ids), rng.randint(3, 5)))
        latest = max(rows[row_id]["created_at"] for row_id in bulk)
        for row_id in bulk:
            rows[row_id]["updated_at"] = latest


def _parse(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text)
