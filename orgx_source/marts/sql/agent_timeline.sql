-- What each agent was seen doing: intervals between reads; the last value is never extrapolated.
-- A state holds until the next read if that read is in time: within twice the usual gap between reads of the
-- agents (their median). A longer gap is unknown, unless the same run is seen at both of its ends. The last read adds
-- no time: nothing is known after it. Every agent record of OrgX has its own rows, including aliases.
-- grain: agent and interval
-- key: agent_id, started_at
-- columns:
--   agent_id        Agent id, as OrgX sends it.
--   agent_name      Display name.
--   status          running, queued, blocked, idle, gone (not listed) or unknown (no read in between).
--   status_raw      The status as OrgX sent it; null for gone and unknown.
--   current_task    What it worked on; null when idle or unknown.
--   run_id          The run.
--   initiative_id   Its initiative.
--   started_at      First read with this state (UTC), or the read before the gap.
--   ended_at        First read with another state (UTC), or the last read.
--   hours           Hours between the two; 0 for a state seen only by the last read.
--   reads           Reads with this state; 0 for unknown.
--   hours_uncertain  Hours by which the true start may be earlier: the gap before the first read.
with reads as (
    select read_at, previous_read_at, next_read_at
    from marts.stg_orgx__reads
    where table_name = 'agents'
),

usual as (
    select
        2 * percentile_cont(0.5) within group (
            order by cast(extract(epoch from next_read_at) - extract(epoch from read_at) as double precision)
        ) as gap_seconds
    from reads
    where next_read_at is not null
),

statuses as (
    select status, status_group from marts.stg_orgx__statuses where entity_type = 'agent'
),

versions as (
    select
        agents.*,
        lead(agents.valid_from) over (partition by agents.id order by agents.valid_from) as valid_to
    from raw.agents_history as agents
),

-- The version that each read saw: the one that was still current when the next read began.
sightings as (
    select
        versions.id as agent_id,
        coalesce(versions.name, versions.id) as agent_name,
        case
            when versions.deleted_at is not null then 'gone'
            when cast(versions.blockers as text) not in ('[]', '{}', 'null', '""') then 'blocked'
            else coalesce(statuses.status_group, 'idle')
        end as status,
        case when versions.deleted_at is null then versions.status end as status_raw,
        case when versions.deleted_at is null then versions.current_task end as current_task,
        case when versions.deleted_at is null then versions.run_id end as run_id,
        case when versions.deleted_at is null then versions.initiative_id end as initiative_id,
        reads.read_at,
        reads.previous_read_at,
        reads.next_read_at
    from reads
    inner join versions
        on (versions.valid_from < reads.next_read_at or reads.next_read_at is null)
        and (versions.valid_to >= reads.next_read_at or versions.valid_to is null)
    left join statuses on versions.status = statuses.status
),

followed as (
    select
        *,
        lead(run_id) over (partition by agent_id order by read_at) as next_run_id,
        cast(extract(epoch from next_read_at) - extract(epoch from read_at) as double precision) as gap_seconds
    from sightings
),

pieces as (
    select
        agent_id, agent_name, status, status_raw, current_task, run_id, initiative_id, read_at as started_at,
        coalesce(next_read_at, read_at) as ended_at, previous_read_at, 1 as is_seen  -- guard: intervals-of-an-agent-meet-without-a-gap
    from followed
    cross join usual
    where next_read_at is null or followed.gap_seconds <= usual.gap_seconds or run_id = next_run_id  -- guard: nothing-is-known-of-an-agent-between-two-distant-reads
    union all
    select
        agent_id, agent_name, 'unknown', null, null, null, null, read_at, next_read_at, cast(null as timestamptz), 0
    from followed
    cross join usual
    where next_read_at is not null and followed.gap_seconds > usual.gap_seconds
        and (run_id is null or next_run_id is null or run_id <> next_run_id)
),

marked as (
    select
        *,
        case
            when
                status = lag(status) over by_time
                and coalesce(run_id, '') = coalesce(lag(run_id) over by_time, '')
                and coalesce(current_task, '') = coalesce(lag(current_task) over by_time, '')
                then 0
            else 1
        end as begins
    from pieces
    window by_time as (partition by agent_id order by started_at)
),

numbered as (
    select *, sum(begins) over (partition by agent_id order by started_at) as island from marked
)

select
    agent_id,
    max(agent_name) as agent_name,
    max(status) as status,
    max(status_raw) as status_raw,
    max(current_task) as current_task,
    max(run_id) as run_id,
    max(initiative_id) as initiative_id,
    min(started_at) as started_at,
    max(ended_at) as ended_at,
    cast(
        (extract(epoch from max(ended_at)) - extract(epoch from min(started_at))) / 3600.0 as double precision
    ) as hours,
    cast(sum(is_seen) as bigint) as reads,
    cast(
        (extract(epoch from min(started_at)) - extract(epoch from min(previous_read_at))) / 3600.0 as double precision
    ) as hours_uncertain
from numbered
group by agent_id, island
