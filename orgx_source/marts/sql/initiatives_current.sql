-- Every initiative that OrgX lists now: its progress, whether it is moving, and what it waits for.
-- Deleted initiatives are excluded (their versions are in initiatives_versions); archived and cancelled ones are included, with
-- status_group closed.
-- grain: initiative
-- key: initiative_id
-- not to sum: progress_pct, tasks_done_pct, health_score; average them over initiatives, or sum the task counts.
-- columns:
--   initiative_id          Initiative id.
--   title                  Title.
--   workspace_id           Workspace it belongs to; null if unknown.
--   status                 Status as OrgX sends it.
--   status_group           planned, active, paused, blocked, completed or closed (archived, cancelled, deleted).
--   priority               Priority as OrgX sends it.
--   domain                 Domain, such as engineering.
--   progress_pct           Progress stated by OrgX, 0 to 100; null for any other number.
--   progress_raw           The same as OrgX sent it, 0 to 100 or 0 to 1.
--   health_score           Health score from OrgX, 0 to 100; null for any other number.
--   created_at             Creation time (UTC).
--   age_days               Days from then to as_of.
--   last_movement_at       Newest change of the initiative or anything below it, except deletions (UTC).
--   days_since_movement    Days from then to as_of.
--   last_activity_at       Newest activity event that names it (UTC); null if there is none.
--   tasks_total            Tasks that OrgX lists; the sum of the five below.
--   tasks_todo             Tasks not started.
--   tasks_in_progress      Tasks in progress.
--   tasks_blocked          Tasks that are blocked.
--   tasks_done             Tasks done.
--   tasks_dropped          Tasks cancelled, archived or marked deleted.
--   tasks_done_pct         Done tasks as a percentage of those not dropped; null if there are none.
--   milestones_total       Milestones that OrgX lists.
--   milestones_done        Completed milestones.
--   decisions_total        Decisions that OrgX lists.
--   decisions_pending      Decisions waiting for a human.
--   oldest_pending_hours   Waiting hours of the oldest of them at as_of; null if there is none.
--   artifacts_total        Artifacts that OrgX lists.
--   artifacts_approved     Artifacts approved now.
--   owner_agents           Names of the assigned agents (JSON list); their ids where names are missing.
--   due_on                 Target date, else due date, else estimated end.
--   is_overdue             Whether that is before as_of and the initiative is neither completed nor closed.
--   as_of                  Reference time of ages (UTC).
with initiatives as (
    select * from marts.stg_orgx__initiatives where deleted_at is null
),

as_of as (
    select as_of from marts.stg_orgx__as_of
),

tasks as (
    select
        initiative_id,
        count(*) as tasks_total,
        count(*) filter (where status_group = 'todo') as tasks_todo,
        count(*) filter (where status_group = 'in_progress') as tasks_in_progress,
        count(*) filter (where status_group = 'blocked') as tasks_blocked,
        count(*) filter (where status_group = 'done') as tasks_done,
        count(*) filter (where status_group = 'dropped') as tasks_dropped,  -- guard: tasks-of-an-initiative-are-the-sum-of-their-groups
        max(updated_at) as moved_at
    from marts.stg_orgx__tasks
    where deleted_at is null  -- guard: deleted-tasks-are-not-there-now
    group by initiative_id
),

workstreams as (
    select workstreams.initiative_id, max(workstreams.updated_at) as moved_at
    from raw.workstreams as workstreams
    cross join marts.stg_orgx__bounds as bounds
    where
        workstreams.deleted_at is null
        and cast(workstreams.updated_at at time zone 'UTC' as date) <= bounds.last_day
    group by workstreams.initiative_id
),

milestones as (
    select
        milestones.initiative_id,
        count(*) as milestones_total,
        count(*) filter (where statuses.status_group = 'completed') as milestones_done,
        max(
            case
                when cast(milestones.updated_at at time zone 'UTC' as date) <= bounds.last_day then milestones.updated_at
            end
        ) as moved_at
    from raw.milestones as milestones
    cross join marts.stg_orgx__bounds as bounds
    left join marts.stg_orgx__statuses as statuses
        on statuses.entity_type = 'milestone' and milestones.status = statuses.status
    where milestones.deleted_at is null
    group by milestones.initiative_id
),

decisions as (
    select
        initiative_id,
        count(*) as decisions_total,
        count(*) filter (where outcome = 'pending') as decisions_pending,
        min(asked_at) filter (where outcome = 'pending') as oldest_pending_at,
        max(updated_at) as moved_at
    from marts.stg_orgx__decisions
    where deleted_at is null
    group by initiative_id
),

artifacts as (
    select
        initiative_id,
        count(*) as artifacts_total,
        count(*) filter (where status_group = 'approved') as artifacts_approved,
        max(updated_at) as moved_at
    from marts.stg_orgx__artifacts
    where deleted_at is null
    group by initiative_id
),

activity as (
    select initiative_id, max(happened_at) as last_activity_at from marts.stg_orgx__activity group by initiative_id
),

joined as (
    select
        initiatives.*,
        tasks.tasks_total,
        tasks.tasks_todo,
        tasks.tasks_in_progress,
        tasks.tasks_blocked,
        tasks.tasks_done,
        tasks.tasks_dropped,
        milestones.milestones_total,
        milestones.milestones_done,
        decisions.decisions_total,
        decisions.decisions_pending,
        decisions.oldest_pending_at,
        artifacts.artifacts_total,
        artifacts.artifacts_approved,
        activity.last_activity_at,
        greatest(
            initiatives.created_at, initiatives.updated_at, tasks.moved_at, workstreams.moved_at, milestones.moved_at,
            decisions.moved_at, artifacts.moved_at, activity.last_activity_at
        ) as last_movement_at,
        as_of.as_of
    from initiatives
    cross join as_of
    left join tasks on initiatives.initiative_id = tasks.initiative_id
    left join workstreams on initiatives.initiative_id = workstreams.initiative_id
    left join milestones on initiatives.initiative_id = milestones.initiative_id
    left join decisions on initiatives.initiative_id = decisions.initiative_id
    left join artifacts on initiatives.initiative_id = artifacts.initiative_id
    left join activity on initiatives.initiative_id = activity.initiative_id
)

select
    initiative_id,
    title,
    workspace_id,
    status,
    status_group,
    priority,
    domain,
    progress_pct,
    progress_raw,
    health_score,
    created_at,
    case
        when created_at is not null
            then cast(
                greatest(0, (extract(epoch from as_of) - extract(epoch from created_at)) / 86400.0) as double precision
            )
    end as age_days,
    last_movement_at,
    case
        when last_movement_at is not null
            then cast(
                greatest(0, (extract(epoch from as_of) - extract(epoch from last_movement_at)) / 86400.0)
                as double precision
            )
    end as days_since_movement,
    last_activity_at,
    coalesce(tasks_total, 0) as tasks_total,
    coalesce(tasks_todo, 0) as tasks_todo,
    coalesce(tasks_in_progress, 0) as tasks_in_progress,
    coalesce(tasks_blocked, 0) as tasks_blocked,
    coalesce(tasks_done, 0) as tasks_done,
    coalesce(tasks_dropped, 0) as tasks_dropped,
    cast(100.0 * tasks_done / nullif(tasks_total - tasks_dropped, 0) as double precision) as tasks_done_pct,
    coalesce(milestones_total, 0) as milestones_total,
    coalesce(milestones_done, 0) as milestones_done,
    coalesce(decisions_total, 0) as decisions_total,
    coalesce(decisions_pending, 0) as decisions_pending,
    case
        when oldest_pending_at is not null
            then cast(
                greatest(0, (extract(epoch from as_of) - extract(epoch from oldest_pending_at)) / 3600.0)
                as double precision
            )
    end as oldest_pending_hours,
    coalesce(artifacts_total, 0) as artifacts_total,
    coalesce(artifacts_approved, 0) as artifacts_approved,
    coalesce(assigned_agent_names, assigned_agent_ids) as owner_agents,
    due_on,
    coalesce(
        due_on < cast(as_of at time zone 'UTC' as date) and status_group not in ('completed', 'closed'), false
    ) as is_overdue,
    as_of
from joined
