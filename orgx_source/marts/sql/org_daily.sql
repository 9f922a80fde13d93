-- The organisation, one row per day (UTC), from the start of its data to the last read, or a timestamp of the next day.
-- Counts of runs, artifacts and decisions use OrgX's timestamps and reach back before the first read; initiatives, tasks
-- and approvals use history and are null before it. Items without a plausible timestamp are on none of these days:
-- times_in_doubt lists them.
-- grain: day
-- key: day
-- not to sum: initiatives_active, tasks_total, tasks_done_total, decisions_open: each day counts them all again.
-- columns:
--   day                      The day (UTC).
--   initiatives_active       Initiatives that were active or blocked at the end of the day.
--   tasks_total              Tasks that OrgX listed at the end of the day.
--   tasks_done_total         Of these, done.
--   tasks_done               Tasks that became done that day.
--   runs_started             Runs started.
--   runs_completed           Runs completed.
--   runs_failed              Runs that failed.
--   artifacts_produced       Artifacts created by agents and humans, including those deleted since.
--   artifacts_approved       Artifacts that became approved that day.
--   decisions_asked          Decisions that were asked.
--   decisions_settled        Decisions that were settled, cancelled or superseded.
--   decisions_open           Decisions waiting at the end of the day: asked and not settled. One that was settled before it was asked
--                            according to OrgX never waited.
--   median_decision_hours    Median waiting hours of the decisions settled that day, if known; else null.
--   cost_usd                 Cost of the day's events, in US dollars; null if OrgX gave none.
--   reads                    Successful reads of the initiatives that day.
with recursive progress as (
    select
        day,
        count(*) filter (where status_group in ('active', 'blocked')) as initiatives_active
    from marts.initiative_progress_daily
    group by day
),

task_steps as (
    select cast(valid_from at time zone 'UTC' as date) as day, status_group, 1 as step
    from marts.stg_orgx__versions
    where entity_type = 'task' and not is_deleted
    union all
    select cast(valid_to at time zone 'UTC' as date), status_group, -1
    from marts.stg_orgx__versions
    where entity_type = 'task' and not is_deleted and valid_to is not null
),

tasks as (
    select day, sum(step) as total, sum(case when status_group = 'done' then step else 0 end) as done
    from task_steps
    group by day
),

seen as (
    select
        cast(estimated_at at time zone 'UTC' as date) as day,
        count(*) filter (where entity_type = 'task' and to_group = 'done') as tasks_done,  -- guard: agents-and-all-tasks-agree-on-what-was-done
        count(*) filter (where entity_type = 'artifact' and to_group = 'approved') as artifacts_approved
    from marts.status_transitions
    where kind in ('changed', 'created') and from_group is distinct from to_group
    group by 1
),

activity as (
    select
        cast(happened_at at time zone 'UTC' as date) as day,
        count(*) filter (where event_type = 'run_started') as runs_started,
        count(*) filter (where event_type = 'run_completed') as runs_completed,
        count(*) filter (where event_type = 'run_failed') as runs_failed,
        sum(cost_usd order by cost_usd) as cost_usd
    from marts.stg_orgx__activity
    where happened_at is not null
    group by 1
),

artifacts as (
    select cast(created_at at time zone 'UTC' as date) as day, count(*) as artifacts_produced
    from marts.stg_orgx__artifacts
    where created_at is not null  -- guard: days-sum-up-to-all-artifacts-and-decisions
    group by 1
),

decisions as (
    select
        cast(asked_at at time zone 'UTC' as date) as asked_day,
        cast(settled_at at time zone 'UTC' as date) as settled_day,
        hours_waiting
    from marts.decision_latency
),

asked as (
    select asked_day as day, count(*) as decisions_asked
    from decisions
    where asked_day is not null
    group by asked_day
),

settled as (
    select
        settled_day as day,
        count(*) as decisions_settled,
        percentile_cont(0.5) within group (order by hours_waiting) as median_decision_hours
    from decisions
    where settled_day is not null
    group by settled_day
),

-- Only decisions with a known start that were not settled before it have waited, so counts are never negative.
waited as (
    select day, sum(step) as step
    from (
        select asked_day as day, 1 as step
        from decisions
        where asked_day is not null and (settled_day is null or settled_day >= asked_day)  -- guard: no-day-has-fewer-decisions-than-none
        union all
        select settled_day, -1
        from decisions
        where settled_day >= asked_day
    ) as steps
    group by day
),

reads as (
    select cast(read_at at time zone 'UTC' as date) as day, count(*) as reads
    from marts.stg_orgx__reads
    where table_name = 'initiatives'
    group by 1
),

first_days as (
    select min(day) as day from activity
    union all
    select min(day) from artifacts
    union all
    select min(day) from asked
    union all
    select min(day) from settled
    union all
    select min(day) from progress
),

last_days as (
    select max(day) as day from activity
    union all
    select max(day) from artifacts
    union all
    select max(day) from asked
    union all
    select max(day) from settled
    union all
    select max(day) from seen
),

read_days as (
    select cast(as_of at time zone 'UTC' as date) as day from marts.stg_orgx__as_of
),

span as (
    select
        (select min(day) from first_days) as first_day,
        day as read_day,
        greatest(day, coalesce((select max(day) from last_days), day)) as last_day
    from read_days
),

days as (
    select first_day as day, read_day, last_day from span where first_day is not null
    union all
    select day + 1, read_day, last_day from days where day < last_day
)

select
    days.day,
    progress.initiatives_active,
    cast(
        case when progress.day is not null then sum(coalesce(tasks.total, 0)) over so_far end as bigint
    ) as tasks_total,
    cast(
        case when progress.day is not null then sum(coalesce(tasks.done, 0)) over so_far end as bigint
    ) as tasks_done_total,
    case when progress.day is not null then coalesce(seen.tasks_done, 0) end as tasks_done,
    coalesce(activity.runs_started, 0) as runs_started,
    coalesce(activity.runs_completed, 0) as runs_completed,
    coalesce(activity.runs_failed, 0) as runs_failed,
    coalesce(artifacts.artifacts_produced, 0) as artifacts_produced,
    case when progress.day is not null then coalesce(seen.artifacts_approved, 0) end as artifacts_approved,
    coalesce(asked.decisions_asked, 0) as decisions_asked,
    coalesce(settled.decisions_settled, 0) as decisions_settled,
    cast(
        sum(coalesce(waited.step, 0)) over so_far as bigint  -- guard: decisions-asked-less-settled-are-open
    ) as decisions_open,
    settled.median_decision_hours,
    activity.cost_usd,
    coalesce(reads.reads, 0) as reads
from days
-- A run across midnight receives timestamps of the next day, which is only partly known.
left join progress on least(days.day, days.read_day) = progress.day
left join tasks on days.day = tasks.day
left join seen on days.day = seen.day
left join activity on days.day = activity.day
left join artifacts on days.day = artifacts.day
left join asked on days.day = asked.day
left join settled on days.day = settled.day
left join waited on days.day = waited.day
left join reads on days.day = reads.day
window so_far as (order by days.day)
