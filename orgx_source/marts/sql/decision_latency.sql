-- Every decision that was ever seen: how long it waited, or waits, and how it ended.
-- Decisions that OrgX no longer lists are in it, with deleted_at; one that vanished unanswered counts as cancelled.
-- grain: decision
-- key: decision_id
-- not to sum: hours_waiting, while some are open: a waiting time as of now is a lower bound.
-- columns:
--   decision_id        Decision id.
--   title              The question.
--   workspace_id       Workspace it belongs to.
--   initiative_id      Initiative it belongs to.
--   initiative_title   Its title.
--   asked_at           When it was asked (UTC); null where nobody knows.
--   settled_at         When it was settled (UTC); null while it waits. Of one that vanished, the last read with it.
--   is_settled_exact   Whether OrgX says when it was settled; else settled_at is the last change of the row.
--   is_open            Whether it waits for a human.
--   hours_waiting      Hours from asked to settled; to as_of while it waits; null where one is not known, or where OrgX says that
--                      it was settled before it was asked.
--   outcome            approved, declined, superseded, cancelled, pending, or settled where OrgX does not say how.
--   status             Status as OrgX sends it.
--   urgency            low, medium, high or critical.
--   urgency_rank       The same as 1 to 4, for sorting.
--   urgency_raw        As OrgX sends it; null counts as medium.
--   agent_id           Agent that asks; an alias counts as the agent it stands for.
--   asked_by           Its name, else who else asks.
--   is_system          Whether OrgX itself asks.
--   decided_by         Who settled it.
--   blocks_task        Whether a task waits for it.
--   blocked_task_id    The task that waits; null when none does.
--   blocked_task_title  Its title.
--   due_at             When an answer is needed (UTC).
--   is_overdue         Whether it was or is answered too late.
--   expected_cost_usd  Cost that is at stake, in US dollars.
--   deleted_at         First read without it (UTC); null while OrgX lists it.
--   as_of              The moment that open ones are counted to (UTC).
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
