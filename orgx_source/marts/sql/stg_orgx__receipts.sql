-- Execution receipts with the run, agent and initiative that the data prove them to belong to.
-- Tokens, cents and hours that cannot be are null: what is below zero, and hours below zero or beyond 30 days.
-- grain: receipt, deleted ones included
-- key: receipt_id
-- columns:
--   receipt_id     Receipt id.
--   run_id         Run that it names, known or not.
--   is_run_known   Whether that run is in runs.
--   agent_id       Agent of that run; an alias counts as the agent it stands for.
--   task_id        Task of that run.
--   initiative_id  Initiative of that run.
--   provider       anthropic, openai, other, as sent; null where OrgX does not say.
--   source_driver  Driver; of the run where the receipt does not say.
--   model          Model, where OrgX names it.
--   outcome_kind   Outcome; of the run where the receipt does not say.
--   day            Day of its end, else of its start (UTC); null for a stamp that stands for none.
--   tokens         Tokens.
--   cost_cents     Estimated cost in US cents; null where nobody knows.
--   saved_cents    Estimated saving in US cents; null where nobody knows.
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
