-- Execution receipts with their run, agent and initiative, if the data identify them.
-- Impossible tokens, cents and hours are null: values below zero, and hours beyond 30 days.
-- grain: receipt, deleted ones included
-- key: receipt_id
-- columns:
--   receipt_id     Receipt id.
--   run_id         Its run, known or not.
--   is_run_known   Whether the run is in runs.
--   agent_id       Agent of that run; an alias counts as the agent it stands for.
--   task_id        Task of that run.
--   initiative_id  Initiative of that run.
--   provider       anthropic, openai, other, as sent; null if unknown.
--   source_driver  Driver of the receipt, else of the run.
--   model          Model, if OrgX names it.
--   outcome_kind   Outcome of the receipt, else of the run.
--   day            Day of its end, else of its start (UTC); null for an implausible timestamp.
--   tokens         Tokens.
--   cost_cents     Estimated cost in US cents; null if unknown.
--   saved_cents    Estimated saving in US cents; null if unknown.
--   hours          Hours from start to end.
with receipts as (
    select *, coalesce(completed_at, started_at) as happened_at from raw.execution_receipts
)

select
    receipts.id as receipt_id,
    receipts.run_id,
    runs.run_id is not null as is_run_known,
    runs.agent_id,
    runs.task_id,
    runs.initiative_id,
    receipts.provider,
    coalesce(receipts.source_driver, runs.source_driver) as source_driver,
    receipts.model,
    coalesce(receipts.outcome_kind, runs.outcome_kind) as outcome_kind,
    case
        when cast(receipts.happened_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
            then cast(receipts.happened_at at time zone 'UTC' as date)
    end as day,
    case when receipts.tokens_used >= 0 then receipts.tokens_used end as tokens,
    case when receipts.cost_estimate_cents >= 0 then receipts.cost_estimate_cents end as cost_cents,  -- guard: a-cost-below-zero-is-not-known
    case when receipts.saved_estimate_cents >= 0 then receipts.saved_estimate_cents end as saved_cents,
    case
        when
            receipts.completed_at >= receipts.started_at
            and extract(epoch from receipts.completed_at) - extract(epoch from receipts.started_at) <= 2592000
            then
                cast(
                    (extract(epoch from receipts.completed_at) - extract(epoch from receipts.started_at)) / 3600.0
                    as double precision
                )
    end as hours
from receipts
cross join marts.stg_orgx__bounds as bounds
left join marts.stg_orgx__runs as runs on receipts.run_id = runs.run_id
