-- Decisions as they are now, with one outcome, one urgency scale, and when they were asked and settled.
-- grain: decision, deleted ones included
-- key: decision_id
-- columns:
--   decision_id       Decision id.
--   outcome           pending, approved, declined, superseded, cancelled, or settled where OrgX does not say how.
--   asked_at          When it was asked: requested_at, else created_at, else the first read that saw it.
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
        decisions.*,
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
    judged.id as decision_id,
    coalesce(judged.workspace_id, judged.command_center_id) as workspace_id,
    judged.initiative_id,
    judged.workstream_id,
    judged.task_id,
    judged.title,
    judged.status,
    judged.outcome,
    coalesce(judged.requested_at, judged.created_at, judged.updated_at, first_seen.first_seen_at) as asked_at,
    case
        when judged.outcome <> 'pending' then coalesce(judged.told_at, judged.updated_at, judged.last_changed_at)
    end as settled_at,
    judged.outcome <> 'pending' and judged.told_at is not null as is_settled_exact,
    judged.urgency_raw,
    coalesce(urgencies.level, 'medium') as urgency,
    coalesce(urgencies.level_rank, 2) as urgency_rank,
    coalesce(agents.canonical_agent_id, judged.agent_id, named.agent_id, judged.asked_by_other) as agent_id,
    coalesce(agents.agent_name, judged.agent_name, judged.agent_id, judged.asked_by_other) as asked_by,
    coalesce(
        judged.source = 'system' or judged.source_system = 'system' or judged.created_by_type = 'system'
        or judged.created_by = 'system',
        false
    ) as is_system,
    judged.decided_by,
    judged.blocks_task,
    judged.due_at,
    judged.expected_cost_usd,
    judged.updated_at,
    judged.last_changed_at,
    judged.deleted_at,
    judged.last_seen_at
from judged
left join marts.stg_orgx__urgencies as urgencies on judged.urgency_raw = urgencies.urgency
left join agents on judged.agent_id = agents.agent_id
left join named on judged.agent_name = named.agent_name
left join first_seen on judged.id = first_seen.id
