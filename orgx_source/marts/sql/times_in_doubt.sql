-- Every OrgX timestamp that the marts do not trust, and why: it counts as unknown, on no day and in no duration.
-- The list is complete: it has every event or artifact that is on no day of org_daily and agent_throughput_daily, and
-- every decision with an unknown asked_at.
-- grain: entity and stamp
-- key: entity_type, entity_id, stamp
-- columns:
--   entity_type  initiative, workstream, milestone, task, decision, artifact or activity (an event).
--   entity_id    Its id.
--   stamp        Column of the connector's table; for a decision also asked_at and settled_at of decision_latency.
--   told_at      The timestamp as OrgX sent it (UTC); null if it sent none.
--   reason       too_early (before the organisation's data begin), too_late (more than a day after the newest run),
--                missing (so it is on no day), or out_of_order (settled before it was asked).
with stamps as (
    select
        'activity' as entity_type, activity.id as entity_id, 'timestamp' as stamp, activity.timestamp as told_at
    from raw.activity as activity
    union all
    select 'initiative', id, 'created_at', created_at from raw.initiatives
    union all
    select 'initiative', id, 'updated_at', updated_at from raw.initiatives
    union all
    select 'workstream', id, 'created_at', created_at from raw.workstreams
    union all
    select 'workstream', id, 'updated_at', updated_at from raw.workstreams
    union all
    select 'milestone', id, 'created_at', created_at from raw.milestones
    union all
    select 'milestone', id, 'updated_at', updated_at from raw.milestones
    union all
    select 'task', id, 'created_at', created_at from raw.tasks
    union all
    select 'task', id, 'updated_at', updated_at from raw.tasks
    union all
    select 'artifact', id, 'created_at', created_at from raw.artifacts
    union all
    select 'artifact', id, 'updated_at', updated_at from raw.artifacts
    union all
    select 'decision', id, 'requested_at', requested_at from raw.decisions
    union all
    select 'decision', id, 'created_at', created_at from raw.decisions
    union all
    select 'decision', id, 'updated_at', updated_at from raw.decisions
    union all
    select 'decision', id, 'decided_at', decided_at from raw.decisions
    union all
    select 'decision', id, 'resolved_at', resolved_at from raw.decisions
),

told as (
    select
        stamps.*,
        case
            when cast(stamps.told_at at time zone 'UTC' as date) < bounds.first_day then 'too_early'
            when cast(stamps.told_at at time zone 'UTC' as date) > bounds.last_day then 'too_late'
            when stamps.entity_type = 'activity' and stamps.told_at is null then 'missing'
            when stamps.entity_type = 'artifact' and stamps.stamp = 'created_at' and stamps.told_at is null then 'missing'
        end as reason
    from stamps
    cross join marts.stg_orgx__bounds as bounds
)

select entity_type, entity_id, stamp, told_at, reason
from told
where reason is not null
union all
select 'decision', decision_id, 'asked_at', asked_at, 'missing'
from marts.stg_orgx__decisions
where asked_at is null
union all
select 'decision', decision_id, 'settled_at', settled_at, 'out_of_order'
from marts.decision_latency
where settled_at < asked_at
