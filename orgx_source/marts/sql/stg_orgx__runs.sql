-- Runs with one vocabulary of outcomes, and plausible hours.
-- grain: run, deleted ones included
-- key: run_id
-- columns:
--   run_id         Run id.
--   agent_id       Agent that ran; an alias counts as the agent it stands for. Null if unknown.
--   outcome        shipped, awaiting_review, abandoned, blocked or failed, open (not ended), or unknown (ended, no outcome).
--   source_driver  claude_code, codex, opencode, server_api or another value from OrgX; null if unknown.
--   quality_score  OrgX's quality score.
--   day            Day of its end, else of its start, else of its creation (UTC); null for an implausible timestamp.
--   hours          Hours from start to end; null if one is missing, or if below zero or beyond 30 days.
with runs as (
    select *, coalesce(completed_at, started_at, created_at) as happened_at from raw.runs
)

select
    runs.id as run_id,
    runs.title,
    coalesce(agents.canonical_agent_id, runs.agent_id) as agent_id,
    coalesce(agents.agent_name, runs.agent_name, runs.agent_id) as agent_name,
    runs.task_id,
    runs.initiative_id,
    runs.status,
    runs.source_driver,
    case
        -- A failed run counts as failed, even if it was given an outcome later.
        when runs.status = 'failed' then 'failed'
        when runs.outcome_kind in ('shipped', 'blocked', 'abandoned', 'awaiting_review') then runs.outcome_kind
        when runs.status in ('blocked', 'awaiting_review') then runs.status
        when runs.status = 'cancelled' then 'abandoned'
        when runs.status in ('planned', 'pending', 'queued', 'running', 'paused', 'active', 'in_progress') then 'open'
        else 'unknown'
    end as outcome,
    runs.outcome_kind,
    runs.quality_score,
    case
        when cast(runs.happened_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
            then cast(runs.happened_at at time zone 'UTC' as date)
    end as day,
    case
        when
            runs.completed_at >= runs.started_at
            and extract(epoch from runs.completed_at) - extract(epoch from runs.started_at) <= 2592000
            then
                cast(
                    (extract(epoch from runs.completed_at) - extract(epoch from runs.started_at)) / 3600.0
                    as double precision
                )
    end as hours,
    runs.started_at,
    runs.completed_at,
    runs.deleted_at
from runs
cross join marts.stg_orgx__bounds as bounds
left join marts.stg_orgx__agents as agents on runs.agent_id = agents.agent_id
