-- What an outcome costs: estimated dollars, tokens and hours by how runs ended, from runs and their receipts.
-- A run counts once, with all its receipts; a run without a known cost is counted, never treated as 0. Receipts that
-- belong to no known run have the outcome no_run. Deleted runs are included: their cost was spent.
-- grain: outcome
-- key: outcome
-- columns:
--   outcome                shipped, awaiting_review, abandoned, blocked, failed, open, unknown or no_run.
--   runs                   Runs; 0 for no_run.
--   runs_with_cost         Of these, with a known cost on some receipt.
--   runs_without_cost      Of these, without a known cost.
--   without_cost_share     The same as a share of runs, 0 to 1; null without runs.
--   receipts               Receipts of these runs.
--   receipts_without_cost  Of these, without a known cost.
--   cost_estimate_usd      Total estimated cost in US dollars; null if nothing is known.
--   cost_share             The same as a share over all outcomes, 0 to 1; the shares add up to one.
--   cost_per_run_usd       Average estimated cost of runs with a known cost; null if there are none.
--   tokens                 Total tokens; null if none are known.
--   hours                  Total known hours of these runs.
--   is_estimate            Whether the amounts are estimates: always true for receipts.
with receipts as (
    select
        case when is_run_known then run_id end as run_id,
        count(*) as receipts,
        count(*) filter (where cost_cents is null) as receipts_without_cost,
        sum(cost_cents order by cost_cents) as cost_cents,
        sum(tokens) as tokens
    from marts.stg_orgx__receipts
    group by 1
),

runs as (
    select
        runs.outcome,
        1 as runs,
        runs.hours,
        receipts.receipts,
        receipts.receipts_without_cost,
        receipts.cost_cents,
        receipts.tokens
    from marts.stg_orgx__runs as runs
    left join receipts on runs.run_id = receipts.run_id
    union all
    select 'no_run', 0, null, receipts, receipts_without_cost, cost_cents, tokens
    from receipts
    where run_id is null
),

totals as (
    select
        outcome,
        sum(runs) as runs,
        sum(case when cost_cents is not null then runs else 0 end) as runs_with_cost,
        sum(case when cost_cents is null then runs else 0 end) as runs_without_cost,
        sum(coalesce(receipts, 0)) as receipts,
        sum(coalesce(receipts_without_cost, 0)) as receipts_without_cost,
        sum(cost_cents order by cost_cents) as cost_cents,
        sum(cost_cents order by cost_cents) filter (where runs > 0) as cost_cents_of_runs,
        sum(tokens) as tokens,
        sum(hours order by hours) as hours
    from runs
    group by outcome
)

select
    outcome,
    cast(runs as bigint) as runs,
    cast(runs_with_cost as bigint) as runs_with_cost,
    cast(runs_without_cost as bigint) as runs_without_cost,
    cast(runs_without_cost as double precision) / nullif(runs, 0) as without_cost_share,
    cast(receipts as bigint) as receipts,
    cast(receipts_without_cost as bigint) as receipts_without_cost,
    cast(cost_cents / 100.0 as double precision) as cost_estimate_usd,
    cast(cost_cents / nullif(sum(cost_cents) over (order by outcome rows between unbounded preceding and unbounded following), 0) as double precision) as cost_share,
    cast(cost_cents_of_runs / nullif(runs_with_cost, 0) / 100.0 as double precision) as cost_per_run_usd,
    cast(tokens as bigint) as tokens,
    hours,
    true as is_estimate
from totals
