-- What needs a person now: waiting decisions, overdue work, blocked work with its blockers, and stuck agents.
-- Work is open if it is neither done nor dropped, and its initiative neither completed nor closed; work without a known
-- initiative counts too. All decisions count. A task that is both blocked and overdue has two rows.
-- grain: kind and entity
-- key: kind, entity_type, entity_id
-- not to sum: open_total, which is the same on every row of an entity type; rows over kinds.
-- columns:
--   kind              decision (waits for an answer), past_due, blocked or agent (blocked, or on one run for a day or more).
--   entity_type       decision, initiative, workstream, milestone, task or agent.
--   entity_id         Its id.
--   title             Its title; for an agent, its name.
--   workspace_id      Workspace it belongs to.
--   initiative_id     Initiative it belongs to.
--   initiative_title  Its title.
--   urgency           low, medium, high or critical: for work, its priority; for an agent, medium.
--   urgency_rank      The same as 1 to 4, for sorting: critical and oldest first is urgency_rank desc, since.
--   since             When it was asked, became due, was blocked or got stuck (UTC); null if unknown.
--   hours             Hours from then to as_of.
--   due_on            Date by which it should have been done or answered.
--   agent_name        Agent that raised it, or that the work is assigned to.
--   reason            What blocks it: open decisions, unfinished tasks or stated blockers, separated by semicolons; for a decision,
--                     the task it blocks; null if unknown.
--   live_url          URL of its page in OrgX, if OrgX gives one.
--   artifact_url      URL of the newest artifact attached to it.
--   open_total        Total number: waiting decisions, listed agents, else open entities of that type.
--   as_of             Reference time of hours (UTC).
with initiatives as (
    select
        *,
        deleted_at is null and status_group not in ('completed', 'closed') as is_open
    from marts.stg_orgx__initiatives
),

work as (
    select
        'initiative' as entity_type, initiatives.initiative_id as entity_id, initiatives.title, initiatives.workspace_id,
        initiatives.initiative_id, initiatives.status, initiatives.status_group, initiatives.priority, initiatives.due_on,
        cast(null as text) as agent_id, initiatives.updated_at, details.depends_on, details.live_url,
        cast(null as text) as stated
    from initiatives
    inner join raw.initiatives as details on initiatives.initiative_id = details.id
    where initiatives.deleted_at is null
    union all
    select
        'workstream', workstreams.id, workstreams.name, coalesce(workstreams.workspace_id, workstreams.command_center_id),
        workstreams.initiative_id, workstreams.status, coalesce(statuses.status_group, 'active'), workstreams.priority,
        null, workstreams.assigned_agent_ids ->> 0, workstreams.updated_at, workstreams.depends_on, workstreams.live_url,
        case
            when cast(workstreams.blockers as text) not in ('[]', '{}', 'null', '""')
                then coalesce(workstreams.blockers ->> 0, cast(workstreams.blockers as text))
        end
    from raw.workstreams as workstreams
    left join marts.stg_orgx__statuses as statuses
        on statuses.entity_type = 'workstream' and workstreams.status = statuses.status
    where workstreams.deleted_at is null
    union all
    select
        'milestone', milestones.id, milestones.title, coalesce(milestones.workspace_id, milestones.command_center_id),
        milestones.initiative_id, milestones.status, coalesce(statuses.status_group, 'active'), milestones.priority,
        case when milestones.due_date >= bounds.first_day then milestones.due_date end, null, milestones.updated_at,
        milestones.depends_on, milestones.live_url, null
    from raw.milestones as milestones
    cross join marts.stg_orgx__bounds as bounds
    left join marts.stg_orgx__statuses as statuses
        on statuses.entity_type = 'milestone' and milestones.status = statuses.status
    where milestones.deleted_at is null
    union all
    select
        'task', tasks.task_id, tasks.title, coalesce(details.workspace_id, details.command_center_id),
        tasks.initiative_id, tasks.status, tasks.status_group, details.priority, tasks.due_on, tasks.agent_id,
        tasks.updated_at, details.depends_on, details.live_url, null
    from marts.stg_orgx__tasks as tasks
    inner join raw.tasks as details on tasks.task_id = details.id
    where tasks.deleted_at is null
),

open_work as (
    select
        work.*,
        initiatives.title as initiative_title,
        count(*) over (partition by work.entity_type) as open_total
    from work
    left join initiatives on work.initiative_id = initiatives.initiative_id
    where
        coalesce(initiatives.is_open, true)  -- guard: nothing-below-a-finished-initiative-needs-attention
        and work.status_group not in ('done', 'dropped', 'completed', 'closed')
),

-- At risk is a warning and does not block anything.
blocked as (
    select * from open_work where status_group = 'blocked' and status <> 'at_risk'
),

blockers as (
    select blocked.entity_type, blocked.entity_id, 'decision: ' || decisions.title as reason
    from blocked
    inner join marts.stg_orgx__decisions as decisions
        on blocked.entity_type = 'task' and blocked.entity_id = decisions.task_id
    where decisions.outcome = 'pending' and decisions.deleted_at is null and coalesce(decisions.blocks_task, true)
    union all
    select blocked.entity_type, blocked.entity_id, others.entity_type || ': ' || others.title
    from blocked
    inner join open_work as others
        on blocked.entity_type = others.entity_type and blocked.entity_id <> others.entity_id
        and cast(blocked.depends_on as text) like '%"' || others.entity_id || '"%'
    union all
    select entity_type, entity_id, stated from blocked where stated is not null
),

reasons as (
    select entity_type, entity_id, string_agg(reason, '; ' order by reason) as reason
    from blockers
    group by entity_type, entity_id
),

blockings as (
    select entity_type, entity_id, max(estimated_at) as blocked_at
    from marts.status_transitions
    where to_group = 'blocked' and kind <> 'deleted'
    group by entity_type, entity_id
),

sightings as (
    select
        agent_id, status, started_at,
        row_number() over (partition by agent_id order by started_at desc) as number
    from marts.agent_timeline
),

agents as (
    select
        agents.agent_id,
        agents.agent_name,
        agents.workspace_id,
        agents.initiative_id,
        agents.status_group,
        agents.current_task,
        case
            when agents.status_group = 'blocked'
                then case when sightings.status = 'blocked' then sightings.started_at end
            when
                cast(agents.started_at at time zone 'UTC' as date) >= bounds.first_day
                and extract(epoch from as_of.as_of) - extract(epoch from agents.started_at) >= 86400
                then agents.started_at
        end as stuck_at,
        case
            when cast(details.blockers as text) not in ('[]', '{}', 'null', '""')
                then coalesce(details.blockers ->> 0, cast(details.blockers as text))
        end as stated,
        count(*) over () as open_total
    from marts.stg_orgx__agents as agents
    inner join raw.agents as details on agents.agent_id = details.id
    cross join marts.stg_orgx__as_of as as_of
    cross join marts.stg_orgx__bounds as bounds
    left join sightings on agents.agent_id = sightings.agent_id and sightings.number = 1
    where agents.deleted_at is null
),

found as (
    select
        'decision' as kind, 'decision' as entity_type, latency.decision_id as entity_id, latency.title,
        latency.workspace_id, latency.initiative_id, latency.initiative_title, latency.urgency, latency.urgency_rank,
        latency.asked_at as since, cast(latency.due_at at time zone 'UTC' as date) as due_on,
        latency.asked_by as agent_name,
        case when latency.blocks_task then 'task: ' || coalesce(latency.blocked_task_title, latency.blocked_task_id) end
            as reason,
        details.live_url, count(*) over () as open_total
    from marts.decision_latency as latency
    inner join raw.decisions as details on latency.decision_id = details.id
    where latency.is_open
    union all
    select
        'past_due', work.entity_type, work.entity_id, work.title, work.workspace_id, work.initiative_id,
        work.initiative_title, coalesce(urgencies.level, 'medium'), coalesce(urgencies.level_rank, 2),
        (cast(work.due_on as timestamp) + interval '1 day') at time zone 'UTC', work.due_on, names.agent_name, null,
        work.live_url, work.open_total
    from open_work as work
    cross join marts.stg_orgx__as_of as as_of
    left join marts.stg_orgx__urgencies as urgencies on work.priority = urgencies.urgency
    left join marts.stg_orgx__agents as names on work.agent_id = names.agent_id
    where work.due_on < cast(as_of.as_of at time zone 'UTC' as date)  -- guard: what-is-due-today-is-not-late
    union all
    select
        'blocked', work.entity_type, work.entity_id, work.title, work.workspace_id, work.initiative_id,
        work.initiative_title, coalesce(urgencies.level, 'medium'), coalesce(urgencies.level_rank, 2),
        coalesce(
            blockings.blocked_at,
            case
                when cast(work.updated_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
                    then work.updated_at
            end
        ),
        work.due_on, names.agent_name, reasons.reason, work.live_url, work.open_total
    from blocked as work
    cross join marts.stg_orgx__bounds as bounds
    left join reasons on work.entity_type = reasons.entity_type and work.entity_id = reasons.entity_id
    left join blockings on work.entity_type = blockings.entity_type and work.entity_id = blockings.entity_id
    left join marts.stg_orgx__urgencies as urgencies on work.priority = urgencies.urgency
    left join marts.stg_orgx__agents as names on work.agent_id = names.agent_id
    union all
    select
        'agent', 'agent', agents.agent_id, agents.agent_name, agents.workspace_id, agents.initiative_id,
        initiatives.title, 'medium', 2, agents.stuck_at, null, agents.agent_name,
        coalesce(agents.stated, 'task: ' || agents.current_task), null, agents.open_total
    from agents
    left join initiatives on agents.initiative_id = initiatives.initiative_id
    where agents.status_group = 'blocked' or (agents.status_group <> 'idle' and agents.stuck_at is not null)
),

attached as (
    select
        entity_type, entity_id, coalesce(artifact_url, external_url) as artifact_url,
        row_number() over (partition by entity_type, entity_id order by created_at desc nulls last, id) as number
    from raw.artifacts
    where deleted_at is null and coalesce(artifact_url, external_url) is not null
)

select
    found.kind,
    found.entity_type,
    found.entity_id,
    found.title,
    found.workspace_id,
    found.initiative_id,
    found.initiative_title,
    found.urgency,
    found.urgency_rank,
    found.since,
    case
        when found.since is not null
            then cast(
                greatest(0, (extract(epoch from as_of.as_of) - extract(epoch from found.since)) / 3600.0)
                as double precision
            )
    end as hours,
    found.due_on,
    found.agent_name,
    found.reason,
    found.live_url,
    attached.artifact_url,
    found.open_total,
    as_of.as_of
from found
cross join marts.stg_orgx__as_of as as_of
left join attached
    on found.entity_type = attached.entity_type and found.entity_id = attached.entity_id and attached.number = 1
