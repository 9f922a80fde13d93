-- Events of the activity feed, with aliases resolved to agents.
-- grain: event
-- key: event_id
-- columns:
--   event_id    Event id.
--   agent_id    Agent that acted; an alias counts as the agent it stands for.
--   happened_at  When it happened (UTC); null for an implausible timestamp (times_in_doubt).
--   cost_usd    Cost it added, in US dollars; null on most events.
select
    activity.id as event_id,
    activity.type as event_type,
    coalesce(agents.canonical_agent_id, activity.agent_id) as agent_id,  -- guard: an-alias-counts-as-the-agent-it-stands-for
    coalesce(agents.agent_name, activity.agent_name, activity.agent_id) as agent_name,
    activity.run_id,
    activity.initiative_id,
    case
        when cast(activity.timestamp at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
            then activity.timestamp
    end as happened_at,
    activity.cost_delta as cost_usd
from raw.activity as activity
cross join marts.stg_orgx__bounds as bounds
left join raw.initiatives as initiatives on activity.initiative_id = initiatives.id
-- Slugs are unique within a workspace: its own agent comes first.
left join marts.stg_orgx__agents as theirs
    on theirs.agent_id = coalesce(initiatives.workspace_id, initiatives.command_center_id) || '/' || activity.agent_id
left join marts.stg_orgx__agents as agents on coalesce(theirs.agent_id, activity.agent_id) = agents.agent_id
