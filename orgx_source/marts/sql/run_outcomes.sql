-- Outcomes of runs per agent and driver: shipped, blocked, failed and unknown.
-- Deleted runs are excluded. The seven counts of outcomes add up to runs.
-- grain: agent and driver
-- key: agent_id, source_driver
-- columns:
--   agent_id         Agent; unknown if OrgX does not say. An alias counts as the agent it stands for.
--   agent_name       Its name.
--   source_driver    Driver; unknown if OrgX does not say.
--   runs             Runs.
--   shipped          Runs whose work was shipped.
--   awaiting_review  Runs waiting for a review.
--   blocked          Runs that ended blocked.
--   abandoned        Runs that were abandoned or cancelled.
--   failed           Runs that failed.
--   open_runs        Runs not ended.
--   unknown_outcome  Ended runs without an outcome.
--   shipped_share    Shipped runs as a share of ended runs with an outcome, 0 to 1; null without such runs.
--   hours            Total hours of runs with known hours; null if there are none.
--   hours_count      Number of runs in it.
--   hours_unknown    Ended runs without known hours.
--   quality_avg      Average quality score; null if no run has one.
--   quality_count    Number of runs in it.
--   without_task     Runs without a task.
with runs as (
    select
        *,
        coalesce(agent_id, 'unknown') as agent,
        coalesce(agent_name, 'unknown') as name,
        coalesce(source_driver, 'unknown') as driver
    from marts.stg_orgx__runs
    where deleted_at is null
)

select
    agent as agent_id,
    max(name) as agent_name,
    driver as source_driver,
    count(*) as runs,
    count(*) filter (where outcome = 'shipped') as shipped,
    count(*) filter (where outcome = 'awaiting_review') as awaiting_review,
    count(*) filter (where outcome = 'blocked') as blocked,
    count(*) filter (where outcome = 'abandoned') as abandoned,
    count(*) filter (where outcome = 'failed') as failed,
    count(*) filter (where outcome = 'open') as open_runs,
    count(*) filter (where outcome = 'unknown') as unknown_outcome,
    cast(count(*) filter (where outcome = 'shipped') as double precision)
    / nullif(count(*) filter (where outcome not in ('open', 'unknown')), 0) as shipped_share,
    sum(hours order by hours) as hours,
    count(hours) as hours_count,
    count(*) filter (where outcome <> 'open' and hours is null) as hours_unknown,
    avg(quality_score order by quality_score) as quality_avg,
    count(quality_score) as quality_count,
    count(*) filter (where task_id is null) as without_task
from runs
group by agent, driver
