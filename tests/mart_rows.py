"""Rows of the marts for tests: every column used by the charts, with values that a test may replace."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

Row = dict[str, Any]
DAY = date(2026, 4, 13)
NOW = datetime(2026, 4, 13, 6, tzinfo=UTC)


def initiative(number: int, **other: Any) -> Row:
    row = {
        "initiative_id": f"i{number}", "title": f"Initiative {number}", "status": "active", "status_group": "active",
        "progress_pct": 40.0, "days_since_movement": 1.0, "tasks_total": 10, "tasks_todo": 3, "tasks_in_progress": 1,
        "tasks_blocked": 0, "tasks_done": 5, "tasks_dropped": 1, "tasks_done_pct": 55.6, "decisions_pending": 0,
        "oldest_pending_hours": None, "owner_agents": '["Eli"]', "due_on": None, "is_overdue": False,
    }  # fmt: skip
    return row | other


def progress(day: int, number: int, total: int, done: int, dropped: int = 0, status: str = "active") -> Row:
    left = total - dropped
    return {
        "initiative_id": f"i{number}", "title": f"Initiative {number}", "day": DAY + timedelta(days=day),
        "status_group": status, "tasks_total": total, "tasks_done": done, "tasks_dropped": dropped,
        "tasks_done_pct": 100 * done / left if left else None,
    }  # fmt: skip


def agent_day(day: int, name: str = "Eli", **other: Any) -> Row:
    row: Row = dict.fromkeys(("tasks_done", "artifacts_produced", "artifacts_approved", "runs_completed"), 0)
    return (
        row | {"agent_id": name.lower(), "agent_name": name, "day": DAY + timedelta(days=day), "cost_usd": None} | other
    )


def piece(start: int, end: int, status: str, name: str = "Eli", agent_id: str = "", **other: Any) -> Row:
    row = {
        "agent_id": agent_id or name.lower(), "agent_name": name, "status": status, "current_task": None,
        "started_at": NOW + timedelta(hours=start), "ended_at": NOW + timedelta(hours=end), "hours": float(end - start),
    }  # fmt: skip
    return row | other


def decision(number: int, hours: float, outcome: str = "approved", urgency: str = "medium", **other: Any) -> Row:
    row = {
        "decision_id": f"d{number}", "title": f"Question {number}", "hours_waiting": hours, "outcome": outcome,
        "is_open": outcome == "pending", "urgency": urgency, "asked_by": "Eli", "asked_at": NOW,
        "initiative_title": None, "blocks_task": False, "blocked_task_title": None, "is_overdue": False,
    }  # fmt: skip
    return row | other


def org_day(day: int, waiting: int | None, asked: int = 0, settled: int = 0) -> Row:
    return {
        "day": DAY + timedelta(days=day), "decisions_open": waiting, "decisions_asked": asked,
        "decisions_settled": settled,
    }  # fmt: skip


def steady(days: int, per_day: int, total: int) -> list[Row]:
    """Return an initiative with constant progress per day."""
    return [progress(day, 1, total, per_day * day) for day in range(days)]


def cost_day(day: int, provider: str = "anthropic", usd: float | None = None, receipts: int = 1) -> Row:
    return {
        "day": DAY + timedelta(days=day), "provider": provider, "receipts": receipts, "cost_estimate_usd": usd,
        "receipts_without_cost": receipts if usd is None else 0, "is_estimate": True,
    }  # fmt: skip


def outcome(name: str, with_cost: int, without: int, usd: float | None = None) -> Row:
    return {
        "outcome": name, "runs": with_cost + without, "runs_with_cost": with_cost, "runs_without_cost": without,
        "cost_estimate_usd": usd, "cost_per_run_usd": usd / with_cost if usd and with_cost else None,
    }  # fmt: skip


def usage(breakdown: str, usd: float | None, label: str | None = None, **other: Any) -> Row:
    row = {
        "breakdown": breakdown, "label": label, "runs": 2, "cost_usd": usd, "period_start": NOW, "is_current": True,
    }  # fmt: skip
    return row | other
