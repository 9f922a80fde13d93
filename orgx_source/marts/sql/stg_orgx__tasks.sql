-- Current tasks, with one status vocabulary and one agent.
-- grain: task, deleted ones included
-- key: task_id
-- columns:
--   task_id       Task id.
--   status_group  todo, in_progress, blocked, done or dropped (cancelled, archived, deleted).
--   agent_id      The assigned agent; the first of several.
with tasks as (
    select * from raw.tasks
),

statuses as (
    select status, status_group from marts.stg_orgx__statuses where entity_type = 'task'
)

select
    tasks.id as task_id,
    tasks.initiative_id,
    tasks.workstream_id,
    tasks.milestone_id,
    tasks.title,
    tasks.status,
    coalesce(statuses.status_group, 'todo') as status_group,
    coalesce(theirs.agent_id, tasks.assigned_agent, tasks.assigned_agent_ids ->> 0) as agent_id,
    case when tasks.due_date >= bounds.first_day then tasks.due_date end as due_on,
    case
        when cast(tasks.created_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
            then tasks.created_at
    end as created_at,
    case
        when cast(tasks.updated_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
            then tasks.updated_at
    end as updated_at,
    tasks.last_changed_at,
    tasks.deleted_at
from tasks
cross join marts.stg_orgx__bounds as bounds
-- Slugs are unique within a workspace: its own agent comes first.
left join marts.stg_orgx__agents as theirs
    on theirs.agent_id = coalesce(tasks.workspace_id, tasks.command_center_id) || '/'
    || coalesce(tasks.assigned_agent, tasks.assigned_agent_ids ->> 0)
left join statuses on tasks.status = statuses.status
