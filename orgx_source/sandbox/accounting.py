"""What agent runs produce besides work: retries, sessions, receipts with tokens and cents, and handoffs to people.

All random values here have their own generator, so that the organisation is the same with and without them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from orgx_source.sandbox.vocabulary import AGENTS, BLOCKERS, MODELS
from orgx_source.sandbox.world import Row, World, iso

SESSION_STAYS = timedelta(days=2)
RECEIPT_DAYS = 30
OVER = frozenset({"completed", "failed", "cancelled"})
NAMES = {agent_id: name for agent_id, name, _ in AGENTS}


def note_run(world: World, run: Row) -> None:
    """Complete a new run: its driver, its session, and its cost if it is over."""
    driver, provider, model, cents, subscription = world.rng_of_runs.choice(MODELS)
    hidden = {"provider": provider, "model": model, "cents_per_1000": cents, "subscription": subscription}
    world.spending[run["id"]] = hidden
    world.edit("run", run["id"], touch=False, source_driver=driver, metadata=run.get("metadata") or {"attempt": 1})
    run = world.find("run")[run["id"]]
    if run["status"] in OVER:
        end_run(world, run)
    elif run["started_at"]:
        _make_session(world, run)


def end_run(world: World, run: Row) -> None:
    """Add the results of a finished run: outcome, quality, receipts, perhaps a handoff or another attempt."""
    rng = world.rng_of_runs
    run = world.find("run")[run["id"]]
    ended = datetime.fromisoformat(run["completed_at"])
    shipped = run["status"] == "completed" and rng.random() < 0.85
    outcome = "shipped" if shipped else {"completed": "awaiting_review", "failed": "blocked"}.get(run["status"])
    quality = round(rng.uniform(0.55, 0.98), 2) if shipped and rng.random() < 0.8 else None
    world.edit("run", run["id"], touch=False, outcome_kind=outcome or "abandoned", quality_score=quality)
    _end_session(world, run, ended)
    if rng.random() < 0.95:
        _make_receipt(world, world.find("run")[run["id"]], ended)
    if run["status"] == "completed" and rng.random() < 0.6:
        _make_work_receipt(world, run, ended)
    if rng.random() < 0.15:
        _make_handoff(world, run, ended)
    if run["status"] == "failed" and rng.random() < 0.5:
        _retry(world, run, ended)


def _retry(world: World, run: Row, ended: datetime) -> None:
    """Add a second attempt at the same task."""
    rng = world.rng_of_runs
    over = ended + timedelta(minutes=rng.uniform(5, 60))
    if over > world.now:
        return
    again = world.insert(
        "run",
        **{
            **{key: run[key] for key in ("title", "agent_id", "initiative_id", "task_id")},
            "id": world.new_id(rng),
            "metadata": {"attempt": run["metadata"]["attempt"] + 1},
            "status": "completed" if rng.random() < 0.8 else "failed",
            "started_at": iso(ended),
            "completed_at": iso(over),
            "created_at": iso(ended),
            "updated_at": iso(over),
        },
    )
    note_run(world, again)


def _make_session(world: World, run: Row, status: str = "running") -> None:
    blocked = world.rng_of_runs.random() < 0.1
    world.insert(
        "session",
        run_id=run["id"],
        title=run["title"],
        agent_id=run["agent_id"],
        agent_name=NAMES.get(run["agent_id"]),
        status="blocked" if blocked else status,
        initiative_id=run["initiative_id"],
        group_id=run["initiative_id"],
        group_label="Initiative",
        started_at=run["started_at"],
        updated_at=run["updated_at"],
        blockers=[world.rng_of_runs.choice(BLOCKERS)] if blocked else [],
        runtime_client={"claude_code": "claude-code", "codex": "codex"}.get(run.get("source_driver") or "", "unknown"),
        cost=round(world.rng_of_runs.random(), 4) if world.rng_of_runs.random() < 0.5 else None,
    )


def _end_session(world: World, run: Row, ended: datetime) -> None:
    own = [row for row in world.find("session").values() if row["run_id"] == run["id"]]
    for row in own:
        world.edit("session", row["id"], status=run["status"], updated_at=iso(ended), blockers=[])
    if not own and run["started_at"] and ended > world.now - SESSION_STAYS:
        _make_session(world, run, run["status"])


def _make_receipt(world: World, run: Row, ended: datetime) -> None:
    rng, spent = world.rng_of_runs, world.spending[run["id"]]
    started = datetime.fromisoformat(run["started_at"] or run["created_at"])
    hours = max(0.02, (ended - started) / timedelta(hours=1))
    tokens = int(hours * 60_000 * rng.lognormvariate(0, 0.6))
    cents = round(tokens / 1000 * spent["cents_per_1000"], 2)
    known = rng.random() < 0.97
    receipt = world.insert(
        "execution_receipt",
        run_id=run["id"] if rng.random() < 0.98 else None,
        workspace_id=_workspace_of(world, run),
        provider=spent["provider"],
        source_sub_type="subscription" if spent["subscription"] else "api_key",
        source_driver=run["source_driver"],
        started_at=iso(started),
        first_response_at=iso(min(ended, started + timedelta(seconds=rng.uniform(1, 20)))),
        completed_at=iso(ended),
        tokens_used=tokens,
        cost_estimate_cents=cents if known and not spent["subscription"] else None,
        saved_estimate_cents=cents if spent["subscription"] else None,
        outcome_kind=run["outcome_kind"],
    )
    world.spending[receipt["id"]] = spent


def _workspace_of(world: World, run: Row) -> str:
    initiative = world.find("initiative").get(run["initiative_id"]) or {}
    named = initiative.get("workspace_id") or initiative.get("command_center_id")
    return str(named or next(iter(world.find("workspace"))))


def _make_work_receipt(world: World, run: Row, ended: datetime) -> None:
    rng = world.rng_of_runs
    judged = rng.random() < 0.6
    met, unmet = rng.randrange(1, 6), rng.choice((0, 0, 0, 1, 2))
    accepted = "human_reviewed" if judged else "awaiting_human_review"
    world.insert(
        "work_receipt",
        external_receipt_id=f"awr-{run['id'][:8]}",
        summary=f"Done: {run['title']}",
        schema_version="0.2",
        claimed_outcome_status="succeeded",
        claimed_verification_status="self_reported",
        outcome_status="partially_succeeded" if unmet else "succeeded",
        verification_status="verified" if judged else "unverified",
        acceptance_status=accepted,
        evidence_status="complete" if rng.random() < 0.8 else "partial",
        judged_outcome_status=("succeeded" if not unmet else "partially_succeeded") if judged else None,
        judged_by=f"user_{rng.randrange(1, 9)}" if judged else None,
        judged_at=iso(min(world.now, ended + timedelta(hours=rng.uniform(0.2, 20)))) if judged else None,
        criteria_met=met,
        criteria_unmet=unmet,
        criteria_unknown=0,
        initiative_id=run["initiative_id"],
        workspace_id=_workspace_of(world, run),
        completed_at=iso(ended),
        created_at=iso(ended),
        updated_at=iso(ended),
    )


# -- handoffs ------------------------------------------------------------------------------------------------------


def _make_handoff(world: World, run: Row, at: datetime) -> None:
    rng = world.rng_of_runs
    handoff = world.insert(
        "handoff",
        title=f"Take over: {run['title']}",
        summary="An agent needs somebody to go on.",
        status="created",
        priority=rng.choice(("low", "normal", "normal", "high", "urgent")),
        current_actor_type=None,
        current_actor_id=None,
        created_at=iso(at),
        updated_at=iso(at),
    )
    _event(world, handoff["id"], "created", "agent", run["agent_id"], at)
    for step in ("claimed", "fulfilled"):
        at += timedelta(hours=rng.lognormvariate(0.7, 1.1))
        if at > world.now:
            return
        _move(world, handoff["id"], step, at)


def _move(world: World, handoff_id: str, step: str, at: datetime) -> None:
    actor = f"user_{1 + int(handoff_id[:4], 16) % 8}"
    fields: dict[str, Any] = {"status": step, "current_actor_type": "human", "current_actor_id": actor}
    world.edit("handoff", handoff_id, touch=False, updated_at=iso(at), **fields)
    _event(world, handoff_id, step, "human", actor, at)


def _event(world: World, handoff_id: str, kind: str, actor_type: str, actor_id: str, at: datetime) -> None:
    world.insert(
        "handoff_event",
        handoff_id=handoff_id,
        event_type=kind,
        actor_type=actor_type,
        actor_id=actor_id,
        created_at=iso(at),
    )


def pass_hour_of_runs(world: World, share: float) -> None:
    """Claim and fulfil some handoffs, and remove sessions that ended long ago."""
    steps = {"created": "claimed", "claimed": "fulfilled"}
    waiting = world.listing("handoff", ("open",), lambda rows: [row for row in rows if row["status"] in steps])
    for row in list(waiting):
        if world.rng_of_runs.random() < 0.2 * share:
            _move(world, row["id"], steps[row["status"]], world.now)
    ended = world.listing("session", ("ended",), lambda rows: [row for row in rows if row["status"] in OVER])
    for row in list(ended):
        if datetime.fromisoformat(row["updated_at"]) < world.now - SESSION_STAYS:
            world.delete("session", row["id"])


# -- usage ---------------------------------------------------------------------------------------------------------


def usage_of(world: World, workspace: str | None = None) -> Row:
    """Return OrgX's usage for the current month: sums over the receipts, in rounded cents."""
    start = world.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (start + timedelta(days=32)).replace(day=1)
    receipts = [
        row
        for row in world.find("execution_receipt").values()
        if start <= datetime.fromisoformat(row["completed_at"]) <= world.now
        and workspace in (None, row["workspace_id"])
    ]
    keys: dict[str, Callable[[Row], str]] = {
        "provider": lambda row: row["provider"],
        "sourceClient": lambda row: row["source_driver"],
        "model": lambda row: world.spending.get(row["id"], {}).get("model", "unknown"),
    }
    breakdown: dict[str, list[Row]] = {"executionTarget": []}
    for name, key_of in keys.items():
        found = sorted({str(key_of(row)) for row in receipts})
        breakdown[name] = [
            {"key": key, "label": key, **_sums([row for row in receipts if str(key_of(row)) == key])} for key in found
        ]
    total = _sums(receipts)
    return {
        "generatedAt": iso(world.now),
        "period": {"start": iso(start), "end": iso(end), "daysTotal": (end - start).days},
        "plan": {"id": "team", "name": "Team", "allowsOverage": True, "includedBudgetCents": 50_000},
        "actual": {
            "agentRuns": total["runs"],
            "agentMinutes": total["minutes"],
            "tokens": total["tokens"],
            "costCents": total["costCents"],
        },
        "predicted": {"costCents": total["costCents"] * 2},
        "risk": "safe",
        "breakdown": breakdown,
    }


def _sums(receipts: list[Row]) -> Row:
    minutes = sum(
        (datetime.fromisoformat(row["completed_at"]) - datetime.fromisoformat(row["started_at"])).total_seconds() / 60
        for row in receipts
    )
    return {
        "runs": len(receipts),
        "tokens": sum(row["tokens_used"] or 0 for row in receipts),
        "minutes": round(minutes, 1),
        "costCents": round(sum(row["cost_estimate_cents"] or 0 for row in receipts)),
    }
