-- The known state of every initiative at the end of each day (UTC), from the first read to the last.
-- There are no days before the first read. A day without a read repeats the previous state; last_read_at says
-- how old that is.
-- grain: initiative and day
-- key: initiative_id, day
-- not to sum: counts over days (each day counts all tasks again); take the last day of a period.
-- columns:
--   initiative_id   Initiative id.
--   day             The day (UTC).
--   title           Title that day.
--   status          Status that day, as OrgX sent it.
--   status_group    planned, active, paused, blocked, completed or closed.
--   progress_pct    Progress stated by OrgX, 0 to 100; null for any other number.
--   progress_raw    The same as OrgX sent it.
--   tasks_total     Tasks that OrgX listed; the sum of the five below.
--   tasks_todo      Tasks not started.
--   tasks_in_progress  Tasks in progress.
--   tasks_blocked   Tasks that were blocked.
--   tasks_done      Tasks done.
--   tasks_dropped   Tasks cancelled, archived or marked deleted.
--   tasks_done_pct  Done tasks as a percentage of those not dropped; null if there are none.
--   last_read_at    Last read of the initiatives up to the end of that day (UTC).
with recursive versions as (
    select * from marts.stg_orgx__versions where entity_type in ('initiative', 'task')
),

reads as (
    select read_at, cast(read_at at time zone 'UTC' as date) as day
    from marts.stg_orgx__reads
    where table_name = 'initiatives'
),

span as (
    select
        coalesce(min(reads.day), min(cast(versions.valid_from at time zone 'UTC' as date))) as first_day,
        cast(max(as_of.as_of) at time zone 'UTC' as date) as last_day
    from versions
    cross join marts.stg_orgx__as_of as as_of
    left join reads on 1 = 1
),

days as (
    select first_day as day, last_day from span where first_day is not null
    union all
    select day + 1, last_day from days where day < last_day
),

read_days as (
    select days.day, max(reads.read_at) as last_read_at
    from days
    left join reads on days.day >= reads.day
    group by days.day
),

initiatives as (
    select
        *,
        cast(valid_from at time zone 'UTC' as date) as from_day,
        cast(valid_to at time zone 'UTC' as date) as to_day
    from versions
    where entity_type = 'initiative' and not is_deleted
),

known as (
    select initiatives.*, read_days.day, read_days.last_read_at
    from read_days
    inner join initiatives
        on read_days.day >= initiatives.from_day and (read_days.day < initiatives.to_day or initiatives.to_day is null)  -- guard: every-living-initiative-stands-in-the-last-day
),

-- A version of a task counts from the day it was first seen until the day the next version was.
steps as (
    select initiative_id, status_group, cast(valid_from at time zone 'UTC' as date) as day, 1 as step
    from versions
    where entity_type = 'task' and not is_deleted
    union all
    select initiative_id, status_group, cast(valid_to at time zone 'UTC' as date), -1  -- guard: a-version-of-a-task-counts-until-the-next-one
    from versions
    where entity_type = 'task' and not is_deleted and valid_to is not null
),

daily_steps as (
    select
        initiative_id,
        day,
        sum(step) as total,
        sum(case when status_group = 'todo' then step else 0 end) as todo,
        sum(case when status_group = 'in_progress' then step else 0 end) as in_progress,
        sum(case when status_group = 'blocked' then step else 0 end) as blocked,
        sum(case when status_group = 'done' then step else 0 end) as done,
        sum(case when status_group = 'dropped' then step else 0 end) as dropped  -- guard: tasks-of-a-day-are-the-sum-of-their-groups
    from steps
    group by initiative_id, day
),

-- Every day of every initiative that ever had tasks, so that running totals continue over days without a change.
task_days as (
    select
        owners.initiative_id,
        days.day,
        sum(coalesce(daily_steps.total, 0)) over so_far as tasks_total,
        sum(coalesce(daily_steps.todo, 0)) over so_far as tasks_todo,
        sum(coalesce(daily_steps.in_progress, 0)) over so_far as tasks_in_progress,
        sum(coalesce(daily_steps.blocked, 0)) over so_far as tasks_blocked,
        sum(coalesce(daily_steps.done, 0)) over so_far as tasks_done,
        sum(coalesce(daily_steps.dropped, 0)) over so_far as tasks_dropped
    from (select distinct initiative_id from daily_steps) as owners
    cross join days
    left join daily_steps on owners.initiative_id = daily_steps.initiative_id and days.day = daily_steps.day
    window so_far as (partition by owners.initiative_id order by days.day)
)

select
    known.entity_id as initiative_id,
    known.day,
    known.title,
    known.status,
    known.status_group,
    known.progress_pct,
    known.progress_raw,
    cast(coalesce(task_days.tasks_total, 0) as bigint) as tasks_total,
    cast(coalesce(task_days.tasks_todo, 0) as bigint) as tasks_todo,
    cast(coalesce(task_days.tasks_in_progress, 0) as bigint) as tasks_in_progress,
    cast(coalesce(task_days.tasks_blocked, 0) as bigint) as tasks_blocked,
    cast(coalesce(task_days.tasks_done, 0) as bigint) as tasks_done,
    cast(coalesce(task_days.tasks_dropped, 0) as bigint) as tasks_dropped,
    cast(
        100.0 * task_days.tasks_done / nullif(task_days.tasks_total - task_days.tasks_dropped, 0) as double precision
    ) as tasks_done_pct,
    known.last_read_at
from known
left join task_days on known.entity_id = task_days.initiative_id and known.day = task_days.day
