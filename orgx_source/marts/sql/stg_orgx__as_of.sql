-- The reference time of all ages and waiting times: the newest read, never the current time.
-- If no run was logged (a pipeline without orgx-sync), the newest version written.
-- grain: one row
-- key: as_of
-- columns:
--   as_of  The reference time (UTC).
with logged as (
    select max(read_at) as moment from marts.stg_orgx__reads
),

written as (
    select max(last_changed_at) as moment from raw.initiatives
    union all
    select max(last_changed_at) from raw.tasks
    union all
    select max(last_changed_at) from raw.decisions
    union all
    select max(last_changed_at) from raw.artifacts
    union all
    select max(last_changed_at) from raw.agents
)

select coalesce(max(logged.moment), max(written.moment)) as as_of
from written
cross join logged
