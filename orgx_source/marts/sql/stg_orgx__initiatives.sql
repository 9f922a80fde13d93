-- Initiatives as they are now, with one status vocabulary and one progress scale.
-- grain: initiative, deleted ones included
-- key: initiative_id
-- columns:
--   initiative_id  Initiative id.
--   workspace_id   Its workspace, under whichever name OrgX sent it.
--   status_group   planned, active, paused, blocked, completed or closed.
--   progress_raw   Progress as OrgX sent it: 0 to 100, on some rows 0 to 1.
--   progress_pct   Progress from 0 to 100; a 1 is 100 when the initiative is completed, else 1.
--   due_on         Target date, else due date, else estimated end.
with initiatives as (
    select * from raw.initiatives
),

statuses as (
    select status, status_group from marts.stg_orgx__statuses where entity_type = 'initiative'
)

select
    initiatives.id as initiative_id,
    coalesce(initiatives.workspace_id, initiatives.command_center_id) as workspace_id,
    initiatives.title,
    initiatives.status,
    coalesce(statuses.status_group, 'active') as status_group,
    initiatives.priority,
    initiatives.domain,
    initiatives.health_score,
    initiatives.progress_pct as progress_raw,
    case
        when initiatives.progress_pct > 0 and initiatives.progress_pct < 1 then initiatives.progress_pct * 100
        when initiatives.progress_pct = 1 and statuses.status_group = 'completed' then 100
        else initiatives.progress_pct
    end as progress_pct,
    coalesce(
        initiatives.target_date, initiatives.due_date, cast(initiatives.eta_end_at at time zone 'UTC' as date)
    ) as due_on,
    initiatives.assigned_agent_ids,
    initiatives.assigned_agent_names,
    initiatives.created_at,
    initiatives.updated_at,
    initiatives.last_changed_at,
    initiatives.deleted_at
from initiatives
left join statuses on initiatives.status = statuses.status
