-- Every change of status seen by a run, every row that appeared after the first read, every deletion and every return.
-- Each happened between two reads: after changed_after, and no later than changed_before. A status that existed only
-- between two reads was never seen.
-- grain: entity and transition
-- key: entity_type, entity_id, changed_before
-- not to sum: hours_in_from_status of a deletion and of the following return, when the row was not listed.
-- columns:
--   entity_type           initiative, workstream, milestone, task, decision or artifact.
--   entity_id             Its id.
--   initiative_id         Initiative it belongs to.
--   title                 Its title at the time.
--   agent_id              Agent that it is assigned to, that raised it, or that created it.
--   kind                  changed, created, deleted (OrgX no longer lists it) or returned.
--   from_status           Status before, as OrgX sent it; null for created.
--   to_status             Status after, as OrgX sent it; for a deletion, the last one seen.
--   from_group            Status group of the status before.
--   to_group              Status group of the status after.
--   changed_after         Last read with the status before (UTC); null if no read was logged.
--   changed_before        First read with the status after (UTC).
--   changed_at            OrgX's time of the row's last change if it is between the two (UTC), else null; for created,
--                         its creation time if OrgX gives no change.
--   estimated_at          changed_at, else changed_before (UTC).
--   hours_uncertain       Hours between the two reads.
--   hours_in_from_status  Hours in the status before, by estimated_at; null if its start was not seen.
with versions as (
    select
        *,
        lag(status) over history as previous_status,
        lag(status_group) over history as previous_group,
        lag(is_deleted) over history as was_deleted,
        row_number() over history as number
    from marts.stg_orgx__versions
    window history as (partition by entity_type, entity_id order by valid_from)
),

transitions as (
    select
        *,
        case
            when number = 1 then 'created'
            when is_deleted and not was_deleted then 'deleted'
            when was_deleted and not is_deleted then 'returned'
            else 'changed'
        end as kind
    from versions
    where
        (number = 1 and seen_after is not null and not is_deleted)  -- guard: what-was-there-at-the-first-read-did-not-appear-then
        or (number > 1 and (status is distinct from previous_status or is_deleted <> was_deleted))
),

timed as (
    select
        *,
        case
            when kind in ('changed', 'created') and updated_at > seen_after and updated_at <= valid_from then updated_at
            when kind = 'created' and created_at > seen_after and created_at <= valid_from then created_at
        end as changed_at
    from transitions
),

estimated as (
    select
        *,
        coalesce(changed_at, valid_from) as estimated_at,
        lag(coalesce(changed_at, valid_from)) over (
            partition by entity_type, entity_id order by valid_from
        ) as previous_estimated_at
    from timed
)

select
    entity_type,
    entity_id,
    initiative_id,
    title,
    agent_id,
    kind,
    previous_status as from_status,
    status as to_status,
    previous_group as from_group,
    status_group as to_group,
    seen_after as changed_after,  -- guard: every-transition-has-a-version-before-or-a-read-before
    valid_from as changed_before,
    changed_at,
    estimated_at,
    cast(
        (extract(epoch from valid_from) - extract(epoch from seen_after)) / 3600.0 as double precision
    ) as hours_uncertain,
    case
        when estimated_at >= previous_estimated_at
            then cast(
                (extract(epoch from estimated_at) - extract(epoch from previous_estimated_at)) / 3600.0
                as double precision
            )
    end as hours_in_from_status
from estimated
