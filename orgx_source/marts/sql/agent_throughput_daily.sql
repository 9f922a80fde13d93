-- What each agent completed per day (UTC), from the first event to the last read, or a timestamp of the next day; days
-- without work are 0.
-- Runs come from the activity feed, tasks and approvals from history: they are null before the first read. Aliases count
-- as the agent they stand for. Items without a plausible timestamp are on none of these days: times_in_doubt lists them.
-- grain: agent and day
-- key: agent_id, day
-- not to sum: median_run_hours, p90_run_hours.
-- columns:
--   agent_id            Agent id; an alias counts as the agent it stands for.
--   agent_name          Display name.
--   day                 The day (UTC).
--   runs_started        Runs started.
--   runs_completed      Runs completed.
--   runs_failed         Runs that failed.
--   median_run_hours    Median hours of the runs that ended that day and whose start is known; null if there are none.
--   p90_run_hours       90th percentile of the same.
--   run_count           Number of runs in these two.
--   tasks_done          Its assigned tasks that became done (by estimated_at); null before the first read.
--   artifacts_produced  Artifacts it created, including those deleted since.
--   artifacts_approved  Artifacts it created that became approved (by estimated_at); null before the first read.
--   decisions_asked     Decisions it raised, including those deleted since.
--   cost_usd            Cost of its events, in US dollars; null if OrgX gave none.
with recursive agents as (
    select canonical_agent_id as agent_id, min(case when not is_alias then agent_name end) as agent_name
    from marts.stg_orgx__agents
    group by canonical_agent_id
),

aliases as (
    select agent_id, canonical_agent_id from marts.stg_orgx__agents
),

activity as (
    select *, cast(happened_at at time zone 'UTC' as date) as day
    from marts.stg_orgx__activity
    where agent_id is not null and happened_at is not null
),

run_ends as (
    select
        agent_id,
        run_id,
        max(happened_at) filter (where event_type in ('run_completed', 'run_failed')) as ended_at,
        min(happened_at) filter (where event_type = 'run_started') as began_at
    from activity
    where run_id is not null
    group by agent_id, run_id
),

run_hours as (
    select
        agent_id,
        cast(ended_at at time zone 'UTC' as date) as day,
        cast((extract(epoch from ended_at) - extract(epoch from began_at)) / 3600.0 as double precision) as hours
    from run_ends
    where ended_at >= began_at
),

durations as (
    select
        agent_id,
        day,
        percentile_cont(0.5) within group (order by hours) as median_run_hours,
        percentile_cont(0.9) within group (order by hours) as p90_run_hours,
        count(*) as run_count
    from run_hours
    group by agent_id, day
),

events as (
    select
        agent_id,
        day,
        count(*) filter (where event_type = 'run_started') as runs_started,  -- guard: days-sum-up-to-all-runs
        count(*) filter (where event_type = 'run_completed') as runs_completed,
        count(*) filter (where event_type = 'run_failed') as runs_failed,
        sum(cost_usd order by cost_usd) as cost_usd
    from activity
    group by agent_id, day
),

seen as (
    select
        coalesce(aliases.canonical_agent_id, transitions.agent_id) as agent_id,
        cast(transitions.estimated_at at time zone 'UTC' as date) as day,
        count(*) filter (where transitions.entity_type = 'task' and transitions.to_group = 'done') as tasks_done,
        count(*) filter (
            where transitions.entity_type = 'artifact' and transitions.to_group = 'approved'
        ) as artifacts_approved
    from marts.status_transitions as transitions
    left join aliases on transitions.agent_id = aliases.agent_id
    where
        transitions.agent_id is not null
        and transitions.kind in ('changed', 'created')
        and transitions.from_group is distinct from transitions.to_group
    group by 1, 2
),

history_began as (
    select
        min(case when table_name = 'tasks' then cast(read_at at time zone 'UTC' as date) end) as of_tasks,
        min(case when table_name = 'artifacts' then cast(read_at at time zone 'UTC' as date) end) as of_artifacts
    from marts.stg_orgx__reads
),

produced as (
    select agent_id, cast(created_at at time zone 'UTC' as date) as day, count(*) as artifacts_produced
    from marts.stg_orgx__artifacts  -- guard: the-artifacts-of-agents-add-up
    where agent_id is not null and created_at is not null  -- guard: days-sum-up-to-all-artifacts-of-agents
    group by agent_id, cast(created_at at time zone 'UTC' as date)
),

asked as (
    select agent_id, cast(asked_at at time zone 'UTC' as date) as day, count(*) as decisions_asked
    from marts.stg_orgx__decisions
    where agent_id is not null and asked_at is not null
    group by agent_id, cast(asked_at at time zone 'UTC' as date)
),

worked as (
    select agent_id, day from events
    union
    select agent_id, day from seen
    union
    select agent_id, day from produced
    union
    select agent_id, day from asked
),

span as (
    select
        min(worked.day) as first_day,
        greatest(max(worked.day), max(cast(as_of.as_of at time zone 'UTC' as date))) as last_day
    from worked
    cross join marts.stg_orgx__as_of as as_of
),

days as (
    select first_day as day, last_day from span where first_day is not null
    union all
    select day + 1, last_day from days where day < last_day
),

everyone as (
    select agent_id from agents
    union
    select agent_id from worked
)

select
    everyone.agent_id,
    coalesce(agents.agent_name, everyone.agent_id) as agent_name,
    days.day,
    coalesce(events.runs_started, 0) as runs_started,
    coalesce(events.runs_completed, 0) as runs_completed,
    coalesce(events.runs_failed, 0) as runs_failed,
    durations.median_run_hours,
    durations.p90_run_hours,
    coalesce(durations.run_count, 0) as run_count,
    case when days.day >= history_began.of_tasks then coalesce(seen.tasks_done, 0) end as tasks_done,
    coalesce(produced.artifacts_produced, 0) as artifacts_produced,
    case when days.day >= history_began.of_artifacts then coalesce(seen.artifacts_approved, 0) end as artifacts_approved,
    coalesce(asked.decisions_asked, 0) as decisions_asked,
    events.cost_usd
from everyone
cross join days
cross join history_began
left join agents on everyone.agent_id = agents.agent_id
left join events on everyone.agent_id = events.agent_id and days.day = events.day
left join durations on everyone.agent_id = durations.agent_id and days.day = durations.day
left join seen on everyone.agent_id = seen.agent_id and days.day = seen.day
left join produced on everyone.agent_id = produced.agent_id and days.day = produced.day
left join asked on everyone.agent_id = asked.agent_id and days.day = asked.day
