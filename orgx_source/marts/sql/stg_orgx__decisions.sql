-- Decisions as they are now, with one outcome, one urgency scale, and when they were asked and settled.
-- grain: decision, deleted ones included
-- key: decision_id
-- columns:
--   decision_id       Decision id.
--   outcome           pending, approved, declined, superseded, cancelled, or settled where OrgX does not say how.
--   asked_at          When it was asked: requested_at, else created_at, else the first read that saw it; a time before 2000
--                     stands for none.
--   settled_at        When it was settled: decided_at or resolved_at, else the last change of a settled row.
--   is_settled_exact  Whether OrgX says when it was settled.
--   urgency_raw       As OrgX sends it: urgency, else urgency_level, else priority.
--   urgency           low, medium, high or critical.
--   agent_id          Agent that asks, by id, else by name; an alias counts as the agent it stands for.
--   is_system         Whether OrgX itself asks.
with decisions as (
    select * from raw.decisions
),

agents as (
    select agent_id, canonical_agent_id, agent_name from marts.stg_orgx__agents
),

named as (
    select agent_name, min(canonical_agent_id) as agent_id from agents group by agent_name
),

statuses as (
    select status, status_group from marts.stg_orgx__statuses where entity_type = 'decision'
),

first_seen as (
    select id, min(valid_from) as first_seen_at from raw.decisions_history group by id
),

judged as (
    select
        -- Not all columns: OrgX may send one that is called like one of these.
        decisions.id,
        coalesce(decisions.decided_at, decisions.resolved_at) as told_at,
        coalesce(
            statuses.status_group,
            case
                when coalesce(decisions.decided_at, decisions.resolved_at) is null then 'pending' else 'settled'
            end
        ) as outcome,
        coalesce(decisions.urgency, decisions.urgency_level, decisions.priority) as urgency_raw,
        coalesce(decisions.requested_by, decisions.owner_agent, decisions.assigned_agent) as asked_by_other
    from decisions
    left join statuses on decisions.status = statuses.status
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
        case when decisions.requested_at >= cast('2000-01-01 00:00:00+00' as timestamptz) then decisions.requested_at end,
        case when decisions.created_at >= cast('2000-01-01 00:00:00+00' as timestamptz) then decisions.created_at end,
        case when decisions.updated_at >= cast('2000-01-01 00:00:00+00' as timestamptz) then decisions.updated_at end,
        first_seen.first_seen_at
    ) as asked_at,
    case
        when judged.outcome <> 'pending' then coalesce(judged.told_at, decisions.updated_at, decisions.last_changed_at)
    end as settled_at,
    judged.outcome <> 'pending' and judged.told_at is not null as is_settled_exact,
    judged.urgency_raw,
    coalesce(urgencies.level, 'medium') as urgency,
    coalesce(urgencies.level_rank, 2) as urgency_rank,
    coalesce(agents.canonical_agent_id, decisions.agent_id, named.agent_id, judged.asked_by_other) as agent_id,
    coalesce(agents.agent_name, decisions.agent_name, decisions.agent_id, judged.asked_by_other) as asked_by,
    coalesce(
        decisions.source = 'system' or decisions.source_system = 'system' or decisions.created_by_type = 'system'
        or decisions.created_by = 'system',
        false
    ) as is_system,
    decisions.decided_by,
    decisions.blocks_task,
    decisions.due_at,
    decisions.expected_cost_usd,
    decisions.updated_at,
    decisions.last_changed_at,
    decisions.deleted_at,
    decisions.last_seen_at
from decisions
inner join judged on decisions.id = judged.id
left join marts.stg_orgx__urgencies as urgencies on judged.urgency_raw = urgencies.urgency
left join agents on decisions.agent_id = agents.agent_id
left join named on decisions.agent_name = named.agent_name
left join first_seen on decisions.id = first_seen.id
