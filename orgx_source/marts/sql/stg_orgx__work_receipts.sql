-- Work receipts: what was done, whether it was accepted, and how many criteria it meets.
-- grain: receipt
-- key: receipt_id
-- columns:
--   receipt_id        Receipt id.
--   outcome           Outcome as judged by a human, else as assessed by OrgX, else as claimed by the producer.
--   outcome_source    judged, assessed or claimed; null if unknown.
--   is_reviewed       Whether a human has reviewed it; null if unknown.
--   criteria_met      Number of criteria that are met; null if unknown or below zero.
--   criteria_unmet    Number of criteria that are not met; null if unknown or below zero.
--   hours_to_review   Hours from the end of the work to the judgment; null if one is missing or they are in the wrong order.
select
    id as receipt_id,
    initiative_id,
    coalesce(judged_outcome_status, outcome_status, claimed_outcome_status) as outcome,
    case
        when judged_outcome_status is not null then 'judged'
        when outcome_status is not null then 'assessed'
        when claimed_outcome_status is not null then 'claimed'
    end as outcome_source,
    case
        when acceptance_status = 'human_reviewed' then true
        when acceptance_status = 'awaiting_human_review' then false
    end as is_reviewed,
    case when criteria_met >= 0 then criteria_met end as criteria_met,
    case when criteria_unmet >= 0 then criteria_unmet end as criteria_unmet,
    case
        when judged_at >= completed_at
            then
                cast(
                    (extract(epoch from judged_at) - extract(epoch from completed_at)) / 3600.0 as double precision
                )
    end as hours_to_review,
    completed_at
from raw.work_receipts
where deleted_at is null
