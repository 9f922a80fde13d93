-- Every version ever seen of every row with a status, and the two reads between which it appeared.
-- Built from the history tables alone: changes before the first read, or between the same two reads, are not included.
-- grain: entity and version
-- key: entity_type, entity_id, valid_from
-- columns:
--   entity_type    initiative, workstream, milestone, task, decision or artifact.
--   entity_id      Its id.
--   initiative_id  The initiative it belongs to.
--   agent_id       Agent that it is assigned to, that raised it, or that created it; aliases are not resolved.
--   status_group   Group of the status (stg_orgx__statuses).
--   progress_pct   Progress from 0 to 100; a 1 is 100 if the status is completed, else 1. Null for any other number.
--   is_deleted     Whether this version is a deletion: OrgX no longer lists the row.
--   valid_from     When the version was first seen.
--   valid_to       When the next version was first seen; null for the current one.
--   seen_after     The last read before it was seen; null if it was there at the first read.
with histories as (
    select
        'initiative' as entity_type, 'initiatives' as table_name, id as entity_id, id as initiative_id, title, status,
        progress_pct as progress_raw, cast(null as text) as agent_id, created_at, updated_at, valid_from, deleted_at,
        coalesce(workspace_id, command_center_id) as workspace_id
    from raw.initiatives_history
    union all
    select
        'workstream', 'workstreams', id, initiative_id, name, status, progress_pct, null, created_at, updated_at,
        valid_from, deleted_at, coalesce(workspace_id, command_center_id)
    from raw.workstreams_history
    union all
    select
        'milestone', 'milestones', id, initiative_id, title, status, progress_pct, null, created_at, updated_at,
        valid_from, deleted_at, coalesce(workspace_id, command_center_id)
    from raw.milestones_history
    union all
    select
        'task', 'tasks', id, initiative_id, title, status, null, coalesce(assigned_agent, assigned_agent_ids ->> 0),
        created_at, updated_at, valid_from, deleted_at, coalesce(workspace_id, command_center_id)
    from raw.tasks_history
    union all
    select
        'decision', 'decisions', id, initiative_id, title, status, null, agent_id, created_at, updated_at, valid_from,
        deleted_at, coalesce(workspace_id, command_center_id)
    from raw.decisions_history
    union all
    select
        'artifact', 'artifacts', id, initiative_id, name, status, null,
        case when created_by_type = 'agent' then created_by_id end, created_at, updated_at, valid_from, deleted_at,
        coalesce(workspace_id, command_center_id)
    from raw.artifacts_history
),

stamps as (
    select distinct table_name, valid_from from histories
),

-- A version belongs to the last run that started before it, even if that run failed later.
runs as (
    select
        table_name,
        started_at,
        max(case when error is null and verdict is not null then started_at end) over (
            partition by table_name order by started_at rows between unbounded preceding and 1 preceding
        ) as last_good_before
    from raw.sync_log
),

bounds as (
    select stamps.table_name, stamps.valid_from, max(runs.last_good_before) as seen_after
    from stamps
    left join runs on stamps.table_name = runs.table_name and stamps.valid_from >= runs.started_at
    group by stamps.table_name, stamps.valid_from
)

select
    histories.entity_type,
    histories.entity_id,
    histories.initiative_id,
    histories.title,
    histories.status,
    coalesce(statuses.status_group, others.status_group) as status_group,
    histories.progress_raw,
    case
        when histories.progress_raw > 0 and histories.progress_raw < 1 then histories.progress_raw * 100  -- guard: a-share-is-not-a-percentage
        when histories.progress_raw = 1 and statuses.status_group = 'completed' then 100
        when histories.progress_raw between 0 and 100 then histories.progress_raw
    end as progress_pct,
    coalesce(theirs.agent_id, histories.agent_id) as agent_id,
    histories.created_at,
    histories.updated_at,
    histories.deleted_at is not null as is_deleted,
    histories.valid_from,
    lead(histories.valid_from) over (
        partition by histories.entity_type, histories.entity_id order by histories.valid_from
    ) as valid_to,
    bounds.seen_after
from histories
-- Slugs are unique within a workspace: its own agent comes first.
left join marts.stg_orgx__agents as theirs on theirs.agent_id = histories.workspace_id || '/' || histories.agent_id
left join bounds on histories.table_name = bounds.table_name and histories.valid_from = bounds.valid_from
left join marts.stg_orgx__statuses as statuses
    on histories.entity_type = statuses.entity_type and histories.status = statuses.status
left join marts.stg_orgx__statuses as others
    on histories.entity_type = others.entity_type and others.status is null
