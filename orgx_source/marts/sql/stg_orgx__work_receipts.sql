-- Work receipts: what was done, whether it was accepted, and how many criteria it meets.
-- grain: receipt
-- key: receipt_id
-- columns:
--   receipt_id        Receipt id.
--   outcome           Outcome as a human judged it, else as OrgX assesses it, else as the producer claims it.
--   outcome_source    judged, assessed or claimed; null where nobody says.
--   is_reviewed       Whether a human has reviewed it; null where OrgX does not say.
--   criteria_met      Criteria that are met; null where that is not known or below zero.
--   criteria_unmet    Criteria that are not met; likewise.
--   hours_to_review   Hours from the end of the work to the judgment; null where one is missing or they are the wrong way round.
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
