-- How long each handoff waits: from creation to claim, and from claim to fulfilment, according to its events.
-- A handoff without events has only its status; the times are null. An open wait runs up to as_of.
-- grain: handoff
-- key: handoff_id
-- columns:
--   handoff_id       Handoff id.
--   title            Title.
--   priority         low, normal, high or urgent.
--   status           Status as OrgX sends it.
--   status_group     waiting (unclaimed), claimed, fulfilled, closed, or unknown.
--   made_at          Creation time (UTC); null for an implausible timestamp.
--   claimed_at       When it was first claimed (UTC).
--   fulfilled_at     When it was first fulfilled (UTC).
--   from_actor_type  Who created it: agent, human or system.
--   to_actor_type    Who claimed it; else the current holder.
--   is_open          Whether it is waiting or being worked on.
--   hours_to_claim   Hours from creation to claim; up to as_of while unclaimed. Null if one of the two is unknown.
--   hours_to_fulfil  Hours from claim to fulfilment; up to as_of while claimed. Null if one is unknown.
--   hours_waiting    Hours waited so far while it is open; else null.
--   is_time_known    Whether made_at and, once claimed, claimed_at are known.
--   as_of            Reference time for open waits (UTC).
with as_of as (
    select as_of from marts.stg_orgx__as_of
),

events as (
    select
        handoff_id,
        min(created_at) filter (where event_type in ('created', 'proposed')) as made_at,
        min(created_at) filter (where event_type = 'claimed') as claimed_at,
        min(created_at) filter (where event_type = 'fulfilled') as fulfilled_at,
        min(actor_type) filter (where event_type in ('created', 'proposed')) as from_actor_type,
        min(actor_type) filter (where event_type = 'claimed') as to_actor_type
    from raw.handoff_events
    where deleted_at is null
    group by handoff_id
),

handoffs as (
    select
        handoffs.id as handoff_id,
        handoffs.title,
        handoffs.priority,
        handoffs.status,
        case
            when handoffs.status in ('created', 'proposed', 'returned', 'escalated') then 'waiting'
            when handoffs.status in ('claimed', 'fulfilled') then handoffs.status
            when handoffs.status in ('cancelled', 'canceled') then 'closed'
            else 'unknown'
        end as status_group,
        coalesce(handoffs.created_at, events.made_at) as made_at,
        events.claimed_at,
        events.fulfilled_at,
        events.from_actor_type,
        coalesce(events.to_actor_type, handoffs.current_actor_type) as to_actor_type
    from raw.handoffs as handoffs
    left join events on handoffs.id = events.handoff_id
    where handoffs.deleted_at is null
),

bounded as (
    select
        handoffs.handoff_id,
        handoffs.title,
        handoffs.priority,
        handoffs.status,
        handoffs.status_group,
        case
            when cast(handoffs.made_at at time zone 'UTC' as date) between bounds.first_day and bounds.last_day
                then handoffs.made_at
        end as made_at,
        handoffs.claimed_at,
        handoffs.fulfilled_at,
        handoffs.from_actor_type,
        handoffs.to_actor_type,
        handoffs.status_group in ('waiting', 'claimed') as is_open,
        as_of.as_of
    from handoffs
    cross join marts.stg_orgx__bounds as bounds
    cross join as_of
),

-- A returned handoff waits again; the start is unknown, so its creation is used.
waits as (
    select
        *,
        case when status_group = 'waiting' then as_of else claimed_at end as claim_until,
        case when status_group = 'claimed' then as_of else fulfilled_at end as fulfil_until
    from bounded
)

select
    handoff_id,
    title,
    priority,
    status,
    status_group,
    made_at,
    claimed_at,
    fulfilled_at,
    from_actor_type,
    to_actor_type,
    is_open,
    case
        when claim_until >= made_at
            then cast((extract(epoch from claim_until) - extract(epoch from made_at)) / 3600.0 as double precision)
    end as hours_to_claim,
    case
        when status_group <> 'waiting' and fulfil_until >= claimed_at
            then cast((extract(epoch from fulfil_until) - extract(epoch from claimed_at)) / 3600.0 as double precision)
    end as hours_to_fulfil,
    case
        when is_open and as_of >= made_at
            then cast((extract(epoch from as_of) - extract(epoch from made_at)) / 3600.0 as double precision)
    end as hours_waiting,
    made_at is not null and (status_group in ('waiting', 'closed') or claimed_at is not null) as is_time_known,
    as_of
from waits
