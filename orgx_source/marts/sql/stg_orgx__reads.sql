-- Reads that updated a table; failed or interrupted reads do not count.
-- grain: table and run
-- key: table_name, read_at
-- columns:
--   table_name        The table.
--   run_id            The run.
--   read_at           Start of the run.
--   finished_at       End of the run.
--   verdict           certified, repaired or uncertified.
--   previous_read_at  Previous read; null for the first.
--   next_read_at      Next read; null for the last.
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
