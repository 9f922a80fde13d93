-- Current decisions, with one outcome, one urgency scale, and when they were asked and settled.
-- grain: decision, deleted ones included
-- key: decision_id
-- columns:
--   decision_id       Decision id.
--   outcome           pending, approved, declined, superseded, cancelled, or settled where OrgX does not say how.
--   asked_at          When it was asked: requested_at, else created_at, else the last change of a waiting one, else the first
--                     read that saw it waiting; null if it was never seen waiting. An implausible timestamp
--                     (times_in_doubt) is skipped.
--   settled_at        When it was settled: decided_at or resolved_at, else the last change of a settled row.
--   is_settled_exact  Whether OrgX gives the time.
--   urgency_raw       As OrgX sends it: urgency, else urgency_level, else priority.
--   urgency           low, medium, high or critical.
--   agent_id          Agent that raised it, by id, else by name; an alias counts as the agent it stands for.
--   is_system         Whether OrgX itself raised it.
with decisions as (
    select * from raw.decisions
),

agents as (
    select agent_id, canonical_agent_id, agent_name, workspace_id from marts.stg_orgx__agents
),

named as (
    select workspace_id, agent_name, min(canonical_agent_id) as agent_id from agents group by workspace_id, agent_name
),

statuses as (
    select status, status_group from marts.stg_orgx__statuses where entity_type = 'decision'
),

first_seen as (
    select id, min(valid_from) as first_seen_at from raw.decisions_history group by id
),

judged as (
    select
        -- Not all columns: OrgX could send one with the same name as one of these.
        decisions.id,
        case
            when cast(decisions.requested_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
                then decisions.requested_at
        end as requested_at,
        case
            when cast(decisions.created_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
                then decisions.created_at
        end as created_at,
        case
            when cast(decisions.updated_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
                then decisions.updated_at
        end as updated_at,
        case when cast(decisions.due_at at time zone 'UTC' as date) >= bounds.first_day then decisions.due_at end as due_at,
        coalesce(
            case
                when cast(decisions.decided_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
                    then decisions.decided_at
            end,
            case
                when cast(decisions.resolved_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
                    then decisions.resolved_at
            end
        ) as told_at,
        coalesce(
            statuses.status_group,
            case
                when coalesce(decisions.decided_at, decisions.resolved_at) is null then 'pending' else 'settled'
            end
        ) as outcome,
        coalesce(decisions.urgency, decisions.urgency_level, decisions.priority) as urgency_raw,
        coalesce(decisions.requested_by, decisions.owner_agent, decisions.assigned_agent) as asked_by_other
    from decisions
    cross join marts.stg_orgx__bounds as bounds
    left join statuses on decisions.status = statuses.status
),

timed as (
    select
        judged.id,
        judged.outcome <> 'pending' as is_settled,
        case
            when judged.outcome <> 'pending'
                then coalesce(judged.told_at, judged.updated_at, decisions.last_changed_at)
        end as settled_at
    from judged
    inner join decisions on judged.id = decisions.id
)

select
    decisions.id as decision_id,
    coalesce(decisions.workspace_id, decisions.command_center_id) as workspace_id,
    decisions.initiative_id,
    decisions.workstream_id,
    decisions.task_id,
    decisions.title,
    decisions.status,
    judged.outcome,
    coalesce(
        judged.requested_at,
        judged.created_at,
        case when not timed.is_settled then judged.updated_at end,
        -- If it was only ever seen settled, the start of its wait is unknown.
        case when not timed.is_settled or first_seen.first_seen_at < timed.settled_at then first_seen.first_seen_at end,
        case when not timed.is_settled then decisions.last_changed_at end
    ) as asked_at,
    timed.settled_at,
    timed.is_settled and judged.told_at is not null as is_settled_exact,
    judged.urgency_raw,
    coalesce(urgencies.level, 'medium') as urgency,
    coalesce(urgencies.level_rank, 2) as urgency_rank,
    coalesce(
        agents.canonical_agent_id, decisions.agent_id, named_there.agent_id, named.agent_id, judged.asked_by_other
    ) as agent_id,
    coalesce(agents.agent_name, decisions.agent_name, decisions.agent_id, judged.asked_by_other) as asked_by,
    coalesce(
        decisions.source = 'system' or decisions.source_system = 'system' or decisions.created_by_type = 'system'
        or decisions.created_by = 'system',
        false
    ) as is_system,
    decisions.decided_by,
    decisions.blocks_task,
    judged.due_at,
    decisions.expected_cost_usd,
    judged.updated_at,
    decisions.last_changed_at,
    decisions.deleted_at,
    decisions.last_seen_at
from decisions
inner join judged on decisions.id = judged.id
inner join timed on decisions.id = timed.id
left join marts.stg_orgx__urgencies as urgencies on judged.urgency_raw = urgencies.urgency
-- Slugs and names are unique within a workspace: its own agent comes first.
left join agents as theirs
    on theirs.agent_id = coalesce(decisions.workspace_id, decisions.command_center_id) || '/' || decisions.agent_id
left join agents on coalesce(theirs.agent_id, decisions.agent_id) = agents.agent_id
left join named as named_there
    on decisions.agent_name = named_there.agent_name
    and coalesce(decisions.workspace_id, decisions.command_center_id) = named_there.workspace_id
left join named on decisions.agent_name = named.agent_name and named.workspace_id is null
left join first_seen on decisions.id = first_seen.id
