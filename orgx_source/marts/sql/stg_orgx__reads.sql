-- Reads that brought a table up to date; a read that failed or was cut short is none.
-- grain: table and run
-- key: table_name, read_at
-- columns:
--   table_name        The table.
--   run_id            The run.
--   read_at           When the run began.
--   finished_at       When it ended.
--   verdict           certified, repaired or uncertified.
--   previous_read_at  The read before; null for the first.
--   next_read_at      The read after; null for the last.
with log as (
    select table_name, run_id, started_at, finished_at, verdict
    from raw.sync_log
    where error is null and verdict is not null
)

select
    table_name,
    run_id,
    started_at as read_at,
    finished_at,
    verdict,
    lag(started_at) over (partition by table_name order by started_at) as previous_read_at,
    lead(started_at) over (partition by table_name order by started_at) as next_read_at
from log
