-- How fresh and how reliable each table is, from the log of runs.
-- grain: table
-- key: table_name
-- columns:
--   table_name            The table.
--   last_read_at          Start of its last good read (UTC); null if there is none.
--   hours_since_read      Hours from then to the newest read of any table.
--   last_verdict          Verdict of that read: certified, repaired or uncertified.
--   last_whole_read_at    Start of its last good full read (UTC).
--   last_error            Error of the newest run, if it failed for this table.
--   not_open              Why the newest run skipped it although nothing is wrong: not open to this key or login.
--   rows_living           Rows that OrgX lists, according to the last run that counted them.
--   rows_deleted          Rows marked as deleted, over all runs.
--   rows_changed          Versions written for known rows, over all runs.
--   runs                  Runs that included this table.
--   runs_failed           Of these, without a good read.
--   runs_certified        Of these, certified or repaired.
--   requests_per_run      Requests per run, on average.
--   requests_last_run     Requests of the newest run.
--   lateness_minutes_p50  Median minutes from OrgX's time of a change to the read that saw it, except first reads.
--   lateness_minutes_p95  95th percentile of the same.
--   lateness_count        Number of versions in these two.
--   event_lag_seconds_p50    Median seconds from an event of OrgX to its rows in the warehouse; null without events.
--   event_lag_seconds_p95    95th percentile of the same.
--   event_lag_seconds_worst  Longest of the same.
--   event_lag_count          Number of events in these three.
--   as_of                 Start of the newest good read of any table (UTC).
with log as (
    select
        *,
        error is null and verdict is not null as is_good,
        row_number() over (partition by table_name order by started_at desc) as newest
    from raw.sync_log
),

good as (
    select
        *,
        row_number() over (partition by table_name order by started_at desc) as newest_good
    from log
    where is_good
),

totals as (
    select
        table_name,
        count(*) as runs,
        count(*) filter (where not is_good and note is null) as runs_failed,
        count(*) filter (where verdict in ('certified', 'repaired')) as runs_certified,
        sum(rows_deleted) as rows_deleted,
        sum(rows_changed) as rows_changed,
        avg(requests) as requests_per_run
    from log
    group by table_name
),

whole as (
    select table_name, max(started_at) as last_whole_read_at from good where whole group by table_name
),

counted as (
    select table_name, rows_in_warehouse
    from (
        select
            table_name,
            rows_in_warehouse,
            row_number() over (partition by table_name order by started_at desc) as number
        from log
        where rows_in_warehouse is not null
    ) as numbered
    where number = 1
),

-- A row that existed at the first read says nothing about the delay of changes.
late as (
    select
        entity_type || 's' as table_name,
        cast((extract(epoch from valid_from) - extract(epoch from updated_at)) / 60.0 as double precision) as minutes
    from marts.stg_orgx__versions
    cross join marts.stg_orgx__bounds as bounds
    where
        valid_from >= updated_at
        and cast(updated_at at time zone 'UTC' as date) >= bounds.first_day
        and seen_after is not null and not is_deleted  -- guard: rows-that-were-there-at-the-first-read-are-not-late
),

lateness as (
    select
        table_name,
        percentile_cont(0.5) within group (order by minutes) as p50,
        percentile_cont(0.95) within group (order by minutes) as p95,
        count(*) as versions
    from late
    group by table_name
),

-- An event in the future, by the listener's clock, says nothing about the delay.
event_lag as (
    select
        table_name,
        percentile_cont(0.5) within group (order by seconds) as p50,
        percentile_cont(0.95) within group (order by seconds) as p95,
        max(seconds) as worst,
        count(*) as events
    from (
        select
            table_name,
            cast(extract(epoch from loaded_at) - extract(epoch from created_at) as double precision) as seconds
        from raw.webhook_events
        where table_name is not null and right(outcome, 6) = 'loaded' and loaded_at >= created_at
    ) as events
    group by table_name
)

select
    totals.table_name,
    good.started_at as last_read_at,
    cast(
        (extract(epoch from as_of.as_of) - extract(epoch from good.started_at)) / 3600.0 as double precision
    ) as hours_since_read,
    good.verdict as last_verdict,
    whole.last_whole_read_at,
    log.error as last_error,
    log.note as not_open,
    counted.rows_in_warehouse as rows_living,
    cast(totals.rows_deleted as bigint) as rows_deleted,
    cast(totals.rows_changed as bigint) as rows_changed,
    totals.runs,
    totals.runs_failed,
    totals.runs_certified,
    cast(totals.requests_per_run as double precision) as requests_per_run,
    log.requests as requests_last_run,
    lateness.p50 as lateness_minutes_p50,
    lateness.p95 as lateness_minutes_p95,
    coalesce(lateness.versions, 0) as lateness_count,
    event_lag.p50 as event_lag_seconds_p50,
    event_lag.p95 as event_lag_seconds_p95,
    event_lag.worst as event_lag_seconds_worst,
    coalesce(event_lag.events, 0) as event_lag_count,
    as_of.as_of
from totals
inner join log on totals.table_name = log.table_name and log.newest = 1
cross join marts.stg_orgx__as_of as as_of
left join good on totals.table_name = good.table_name and good.newest_good = 1
left join whole on totals.table_name = whole.table_name
left join counted on totals.table_name = counted.table_name
left join event_lag on totals.table_name = event_lag.table_name
left join lateness on totals.table_name = lateness.table_name  -- guard: every-table-that-was-asked-for-has-its-health
