-- Estimated cost of runs by day, provider, driver, model and initiative, from execution receipts.
-- All amounts are OrgX's estimates, none is measured. Receipts without a known cost are counted, never treated as 0. A
-- cost without a stated unit is excluded from totals.
-- grain: day, provider, driver, model and initiative
-- key: day, provider, source_driver, model, initiative_id
-- columns:
--   day                    Day of the receipt's end (UTC); null for receipts without a usable time.
--   provider               anthropic, openai, other; unknown if OrgX does not say.
--   source_driver          Driver; unknown if OrgX does not say.
--   model                  Model; unknown if OrgX does not say, which is usual for receipts.
--   initiative_id          Initiative of the run; unknown if the run is unknown or names none.
--   initiative_title       Its title.
--   cost_source            Source of the numbers: execution_receipts.
--   is_estimate            Whether the amounts are estimates: always true for receipts.
--   receipts               Receipts.
--   receipts_without_cost  Of these, without a known cost.
--   without_cost_share     The same as a share of receipts, 0 to 1.
--   receipts_without_run   Of these, without a run or with an unknown one.
--   tokens                 Total tokens; null if none are known.
--   tokens_unknown         Receipts without tokens.
--   cost_estimate_usd      Estimated cost in US dollars; null if no receipt has one.
--   saved_estimate_usd     Estimated saving in US dollars; null if no receipt has one.
with receipts as (
    select
        day,
        coalesce(provider, 'unknown') as provider,
        coalesce(source_driver, 'unknown') as source_driver,
        coalesce(model, 'unknown') as model,
        coalesce(initiative_id, 'unknown') as initiative_id,
        is_run_known,
        tokens,
        cost_cents,
        saved_cents
    from marts.stg_orgx__receipts
),

totals as (
    select
        day,
        provider,
        source_driver,
        model,
        initiative_id,
        count(*) as receipts,
        count(*) filter (where cost_cents is null) as receipts_without_cost,
        count(*) filter (where not is_run_known) as receipts_without_run,
        cast(sum(tokens) as bigint) as tokens,
        count(*) filter (where tokens is null) as tokens_unknown,
        cast(sum(cost_cents order by cost_cents) / 100.0 as double precision) as cost_estimate_usd,
        cast(sum(saved_cents order by saved_cents) / 100.0 as double precision) as saved_estimate_usd
    from receipts
    group by day, provider, source_driver, model, initiative_id
)

select
    totals.day,
    totals.provider,
    totals.source_driver,
    totals.model,
    totals.initiative_id,
    initiatives.title as initiative_title,
    'execution_receipts' as cost_source,
    true as is_estimate,
    totals.receipts,
    totals.receipts_without_cost,
    cast(totals.receipts_without_cost as double precision) / totals.receipts as without_cost_share,
    totals.receipts_without_run,
    totals.tokens,
    totals.tokens_unknown,
    totals.cost_estimate_usd,
    totals.saved_estimate_usd
from totals
left join marts.stg_orgx__initiatives as initiatives on totals.initiative_id = initiatives.initiative_id
