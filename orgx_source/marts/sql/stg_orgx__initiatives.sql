-- Current initiatives, with one status vocabulary and one progress scale.
-- grain: initiative, deleted ones included
-- key: initiative_id
-- columns:
--   initiative_id  Initiative id.
--   workspace_id   Its workspace, from any of OrgX's fields.
--   status_group   planned, active, paused, blocked, completed or closed.
--   progress_raw   Progress as OrgX sent it: 0 to 100, on some rows 0 to 1.
--   progress_pct   Progress from 0 to 100; a 1 is 100 if the initiative is completed, else 1. Null for any other number.
--   health_score   Health from 0 to 100; null for any other number.
--   due_on         Target date, else due date, else estimated end; a date before the start of the organisation's data counts as missing.
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
    case when initiatives.health_score between 0 and 100 then initiatives.health_score end as health_score,
    initiatives.progress_pct as progress_raw,
    case
        when initiatives.progress_pct > 0 and initiatives.progress_pct < 1 then initiatives.progress_pct * 100
        when initiatives.progress_pct = 1 and statuses.status_group = 'completed' then 100
        when initiatives.progress_pct between 0 and 100 then initiatives.progress_pct  -- guard: what-is-no-percentage-is-not-known
    end as progress_pct,
    coalesce(
        case when initiatives.target_date >= bounds.first_day then initiatives.target_date end,
        case when initiatives.due_date >= bounds.first_day then initiatives.due_date end,
        case
            when cast(initiatives.eta_end_at at time zone 'UTC' as date) >= bounds.first_day
                then cast(initiatives.eta_end_at at time zone 'UTC' as date)
        end
    ) as due_on,
    initiatives.assigned_agent_ids,
    initiatives.assigned_agent_names,
    case
        when cast(initiatives.created_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
            then initiatives.created_at
    end as created_at,
    case
        when cast(initiatives.updated_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
            then initiatives.updated_at
    end as updated_at,
    initiatives.last_changed_at,
    initiatives.deleted_at
from initiatives
cross join marts.stg_orgx__bounds as bounds
left join statuses on initiatives.status = statuses.status
