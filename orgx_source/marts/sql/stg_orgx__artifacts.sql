-- Current artifacts, with one status vocabulary and one creator.
-- grain: artifact, deleted ones included
-- key: artifact_id
-- columns:
--   artifact_id   Artifact id.
--   status_group  draft, in_review, changes_requested, approved, superseded or closed.
--   created_at    Creation time (UTC); null for an implausible timestamp (times_in_doubt).
--   made_by       agent, human, or unknown.
--   agent_id      The agent that created it; an alias counts as the agent it stands for. Null for humans.
with artifacts as (
    select * from raw.artifacts
),

agents as (
    select agent_id, canonical_agent_id, agent_name from marts.stg_orgx__agents
),

statuses as (
    select status, status_group from marts.stg_orgx__statuses where entity_type = 'artifact'
)

select
    artifacts.id as artifact_id,
    coalesce(artifacts.workspace_id, artifacts.command_center_id) as workspace_id,
    artifacts.initiative_id,
    artifacts.task_id,
    artifacts.entity_type,
    artifacts.entity_id,
    artifacts.name,
    artifacts.artifact_type,
    artifacts.status,
    coalesce(statuses.status_group, 'draft') as status_group,
    artifacts.version,
    coalesce(artifacts.created_by_type, case when agents.agent_id is not null then 'agent' end, 'unknown') as made_by,
    case
        when coalesce(artifacts.created_by_type, 'agent') = 'agent'
            then coalesce(
                agents.canonical_agent_id,
                case when artifacts.created_by_type = 'agent' then artifacts.created_by_id end
            )
    end as agent_id,
    coalesce(artifacts.created_by_name, agents.agent_name, artifacts.created_by_id) as made_by_name,
    artifacts.quality_score,
    case
        when cast(artifacts.created_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
            then artifacts.created_at
    end as created_at,
    case
        when cast(artifacts.updated_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
            then artifacts.updated_at
    end as updated_at,
    artifacts.last_changed_at,
    artifacts.deleted_at
from artifacts
cross join marts.stg_orgx__bounds as bounds
-- Slugs are unique within a workspace: its own agent comes first.
left join agents as theirs
    on theirs.agent_id = coalesce(artifacts.workspace_id, artifacts.command_center_id) || '/' || artifacts.created_by_id
left join agents on coalesce(theirs.agent_id, artifacts.created_by_id) = agents.agent_id
left join statuses on artifacts.status = statuses.status
