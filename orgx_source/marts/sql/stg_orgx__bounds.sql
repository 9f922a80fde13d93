-- The range of plausible days for OrgX's timestamps; others count as missing, and times_in_doubt lists them.
-- It begins 30 days before the end of the last gap of more than two years that has no more timestamps before it than
-- after it; in 2000 if there is no such gap. It ends the day after the newest run: a clock may be ahead, and a run may
-- cross midnight.
-- grain: one row
-- key: first_day
-- columns:
--   first_day  The first of these days (UTC).
--   last_day   The last of them (UTC).
with runs as (
    select max(coalesce(finished_at, started_at)) as newest_at from raw.sync_log
),

newest as (
    select
        cast(as_of.as_of at time zone 'UTC' as date) as read_day,
        cast(greatest(as_of.as_of, coalesce(runs.newest_at, as_of.as_of)) at time zone 'UTC' as date) + 1 as last_day
    from marts.stg_orgx__as_of as as_of
    cross join runs
),

moments as (
    select activity.timestamp as moment from raw.activity as activity
    union all
    select coalesce(created_at, updated_at) from raw.initiatives
    union all
    select coalesce(created_at, updated_at) from raw.workstreams
    union all
    select coalesce(created_at, updated_at) from raw.milestones
    union all
    select coalesce(created_at, updated_at) from raw.tasks
    union all
    select coalesce(requested_at, created_at, updated_at) from raw.decisions
    union all
    select coalesce(created_at, updated_at) from raw.artifacts
),

days as (
    select cast(moment at time zone 'UTC' as date) as day, count(*) as stamps
    from moments
    where moment is not null
    group by 1
    union all
    select read_day, 1 from newest
),

silences as (
    select
        days.day,
        lag(days.day) over (order by days.day) as day_before,
        sum(days.stamps) over (order by days.day rows between unbounded preceding and current row) - days.stamps
            as stamps_before,
        sum(days.stamps) over () as stamps_in_all
    from days
    cross join newest
    where days.day >= cast('2000-01-01' as date) and days.day <= newest.last_day
)

select
    coalesce(
        (
            select max(day) - 30
            from silences
            where day > day_before + 730 and 2 * stamps_before <= stamps_in_all  -- guard: a-stamp-long-before-all-others-makes-no-days
        ),
        cast('2000-01-01' as date)
    ) as first_day,
    last_day  -- guard: a-stamp-of-the-future-makes-no-days
from newest
