-- Every decision ever seen: how long it waited or has waited, and its outcome.
-- Decisions that OrgX no longer lists are included, with deleted_at; one deleted while open counts as cancelled.
-- grain: decision
-- key: decision_id
-- not to sum: hours_waiting, while some are open: a waiting time as of now is a lower bound.
-- columns:
--   decision_id        Decision id.
--   title              The question.
--   workspace_id       Workspace it belongs to.
--   initiative_id      Initiative it belongs to.
--   initiative_title   Its title.
--   asked_at           When it was asked (UTC); null if unknown.
--   settled_at         When it was settled (UTC); null while it waits. For a deleted one, the last read with it.
--   is_settled_exact   Whether OrgX gives the time; otherwise settled_at is the last change of the row.
--   is_open            Whether it waits for a human.
--   hours_waiting      Hours from asked to settled; up to as_of while it waits; null if one is unknown, or if according to OrgX
--                      it was settled before it was asked.
--   outcome            approved, declined, superseded, cancelled, pending, or settled if OrgX does not say how.
--   status             Status as OrgX sends it.
--   urgency            low, medium, high or critical.
--   urgency_rank       The same as 1 to 4, for sorting.
--   urgency_raw        As OrgX sends it; null counts as medium.
--   agent_id           Agent that raised it; an alias counts as the agent it stands for.
--   asked_by           Its name, or that of another requester.
--   is_system          Whether OrgX itself raised it.
--   decided_by         Who settled it.
--   blocks_task        Whether it blocks a task.
--   blocked_task_id    The blocked task; null if none.
--   blocked_task_title  Its title.
--   due_at             When an answer is needed (UTC).
--   is_overdue         Whether it was answered late, or is overdue.
--   expected_cost_usd  Expected cost in US dollars.
--   deleted_at         First read without it (UTC); null while OrgX lists it.
--   as_of              Reference time for open waits (UTC).
with decisions as (
    select
        *,
        case when deleted_at is not null and outcome = 'pending' then 'cancelled' else outcome end as final_outcome,  -- guard: a-decision-that-vanished-waits-no-more
        case
            when deleted_at is not null and outcome = 'pending' then coalesce(last_seen_at, deleted_at) else settled_at
        end as final_settled_at
    from marts.stg_orgx__decisions
),

initiatives as (
    select initiative_id, title from marts.stg_orgx__initiatives
),

tasks as (
    select task_id, title from marts.stg_orgx__tasks
)

select
    decisions.decision_id,
    decisions.title,
    decisions.workspace_id,
    decisions.initiative_id,
    initiatives.title as initiative_title,
    decisions.asked_at,
    decisions.final_settled_at as settled_at,
    decisions.is_settled_exact,
    decisions.final_outcome = 'pending' as is_open,  -- guard: open-and-settled-decisions-are-all
    case
        when decisions.final_settled_at < decisions.asked_at then null  -- guard: nothing-waits-for-less-than-no-time
        when decisions.asked_at is not null
            then cast(
                greatest(
                    0,
                    extract(epoch from coalesce(decisions.final_settled_at, as_of.as_of))
                    - extract(epoch from decisions.asked_at)
                ) / 3600.0 as double precision
            )
    end as hours_waiting,
    decisions.final_outcome as outcome,
    decisions.status,
    decisions.urgency,
    decisions.urgency_rank,
    decisions.urgency_raw,
    decisions.agent_id,
    decisions.asked_by,
    decisions.is_system,
    decisions.decided_by,
    coalesce(decisions.blocks_task, false) as blocks_task,
    case when decisions.blocks_task then decisions.task_id end as blocked_task_id,
    case when decisions.blocks_task then tasks.title end as blocked_task_title,
    decisions.due_at,
    coalesce(coalesce(decisions.final_settled_at, as_of.as_of) > decisions.due_at, false) as is_overdue,
    decisions.expected_cost_usd,
    decisions.deleted_at,
    as_of.as_of
from decisions
cross join marts.stg_orgx__as_of as as_of
left join initiatives on decisions.initiative_id = initiatives.initiative_id
left join tasks on decisions.task_id = tasks.task_id
