-- Tasks as they are now, with one status vocabulary and one agent.
-- grain: task, deleted ones included
-- key: task_id
-- columns:
--   task_id       Task id.
--   status_group  todo, in_progress, blocked, done or dropped (cancelled, archived, deleted).
--   agent_id      The agent it is assigned to; the first of several.
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
    coalesce(tasks.assigned_agent, tasks.assigned_agent_ids ->> 0) as agent_id,
    tasks.due_date as due_on,
    tasks.created_at,
    tasks.updated_at,
    tasks.last_changed_at,
    tasks.deleted_at
from tasks
left join statuses on tasks.status = statuses.status
