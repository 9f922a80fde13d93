-- Usage that OrgX counts against the plan in each period read, in dollars: its own totals, not estimates from receipts.
-- grain: period, breakdown and key
-- key: usage_id
-- columns:
--   usage_id      Start of the period, breakdown and key.
--   breakdown     total, provider, execution_target, source_client or model.
--   key           Key within the breakdown; null for the total.
--   cost_usd      Cost in US dollars, rounded by OrgX to a cent.
--   budget_usd    Budget of the plan in US dollars; on the total row.
--   is_current    Whether it belongs to the newest period read.
select
    id as usage_id,
    period_start,
    period_end,
    breakdown,
    key,
    coalesce(label, key) as label,
    runs,
    tokens,
    minutes,
    case when cost_cents >= 0 then cost_cents / 100.0 end as cost_usd,
    included_budget_cents / 100.0 as budget_usd,
    period_start = max(period_start) over () as is_current
from raw.usage
where deleted_at is null
