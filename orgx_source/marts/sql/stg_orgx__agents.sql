-- Agents that OrgX lists or listed, with the agent that an alias stands for.
-- Two records with one display name are one agent: the standard one (its id ends in -agent), else the first by id.
-- grain: agent record
-- key: agent_id
-- columns:
--   agent_id            Id as OrgX sends it; prefixed with the workspace and a slash in any workspace except the first.
--   workspace_id        That workspace; null for agents of the first one.
--   canonical_agent_id  The agent that this record stands for; its own id if it is not an alias.
--   is_alias            Whether the record is an alias of another.
--   is_application      Whether it is an application that acts as an agent, such as chatgpt-app.
--   agent_name          Display name; the id if there is none.
--   domain              Domain, as sent.
--   status              As OrgX sends it.
--   status_group        running, queued, blocked or idle; an agent with blockers counts as blocked.
--   current_task        What it is working on.
--   initiative_id       Initiative of the current run.
--   run_id              Current run.
--   started_at          Start of the current run.
--   deleted_at          First read without it; null while OrgX lists it.
with agents as (
    select *, case when id like '%/%' then split_part(id, '/', 1) end as other_workspace_id from raw.agents
),

statuses as (
    select status, status_group from marts.stg_orgx__statuses where entity_type = 'agent'
)

select
    agents.id as agent_id,
    agents.other_workspace_id as workspace_id,
    first_value(agents.id) over same_name as canonical_agent_id,
    first_value(agents.id) over same_name <> agents.id as is_alias,
    agents.id like '%-app' as is_application,
    coalesce(agents.name, agents.id) as agent_name,
    agents.domain,
    agents.status,
    case
        when cast(agents.blockers as text) not in ('[]', '{}', 'null', '""') then 'blocked'
        else coalesce(statuses.status_group, 'idle')
    end as status_group,
    agents.current_task,
    agents.initiative_id,
    agents.run_id,
    agents.started_at,
    agents.deleted_at
from agents
left join statuses on agents.status = statuses.status
window same_name as (
    partition by agents.other_workspace_id, coalesce(agents.name, agents.id)  -- guard: agents-of-another-workspace-are-no-aliases
    order by case when agents.id like '%-agent' then 0 else 1 end, agents.id
)
