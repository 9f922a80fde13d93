-- Every artifact that was ever seen, on its way from draft to approval.
-- Stamps of review and approval come from history: null for what happened before the first read.
-- Deleted artifacts are in it, with deleted_at.
-- grain: artifact
-- key: artifact_id
-- columns:
--   artifact_id           Artifact id.
--   name                  Name.
--   artifact_type         Type, a dotted code.
--   workspace_id          Workspace it belongs to.
--   initiative_id         Initiative it belongs to.
--   task_id               Task it came from.
--   made_by               agent, human, or unknown.
--   agent_id              Agent that made it; an alias counts as the agent it stands for. Null for humans.
--   made_by_name          Name of the maker.
--   status                Status as OrgX sends it.
--   status_group          draft, in_review, changes_requested, approved, superseded or closed.
--   is_approved           Whether it is approved now.
--   created_at            When it was made (UTC).
--   first_review_at       When it was first seen to enter review (UTC).
--   approved_at           When it was first seen to be approved (UTC); null when that was before the first read.
--   revisions             How often it was revised: the version that OrgX counts, less one, or the times that changes
--                         were seen to be requested, whichever is more.
--   hours_in_review       Hours it was seen in review, to as_of when it still is; null when it never was.
--   hours_to_approval     Hours from made to approved; null when one of the two is not known.
--   quality_score         Quality that OrgX states.
--   deleted_at            First read without it (UTC); null while OrgX lists it.
--   as_of                 The moment that open reviews are counted to (UTC).
with artifacts as (
    select * from marts.stg_orgx__artifacts
),

as_of as (
    select as_of from marts.stg_orgx__as_of
),

transitions as (
    select * from marts.status_transitions where entity_type = 'artifact'
),

-- Where the first version that was seen is in review already, the review began before: count from that read.
reviews as (
    select
        versions.entity_id,
        versions.valid_from,
        coalesce(entered.estimated_at, versions.valid_from) as began_at,
        coalesce(ended.estimated_at, versions.valid_to, as_of.as_of) as ended_at
    from marts.stg_orgx__versions as versions
    cross join as_of
    left join transitions as entered
        on versions.entity_id = entered.entity_id and versions.valid_from = entered.changed_before
    left join transitions as ended
        on versions.entity_id = ended.entity_id and versions.valid_to = ended.changed_before
    where versions.entity_type = 'artifact' and versions.status_group = 'in_review' and not versions.is_deleted
),

review_hours as (
    select
        entity_id,
        cast(sum(seconds order by seconds) / 3600.0 as double precision) as hours_in_review
    from (
        select entity_id, greatest(0, extract(epoch from ended_at) - extract(epoch from began_at)) as seconds
        from reviews
    ) as timed
    group by entity_id
),

milestones as (
    select
        entity_id,
        min(estimated_at) filter (where to_group = 'in_review' and kind <> 'deleted') as first_review_at,
        min(estimated_at) filter (where to_group = 'approved' and kind <> 'deleted') as approved_at,
        count(*) filter (where to_group = 'changes_requested' and kind = 'changed') as changes_requested
    from transitions
    group by entity_id
)

select
    artifacts.artifact_id,
    artifacts.name,
    artifacts.artifact_type,
    artifacts.workspace_id,
    artifacts.initiative_id,
    artifacts.task_id,
    artifacts.made_by,
    artifacts.agent_id,
    artifacts.made_by_name,
    artifacts.status,
    artifacts.status_group,
    artifacts.status_group = 'approved' and artifacts.deleted_at is null as is_approved,
    artifacts.created_at,
    milestones.first_review_at,
    milestones.approved_at,  -- guard: an-approval-before-the-first-read-has-no-time
    greatest(coalesce(artifacts.version, 1) - 1, coalesce(milestones.changes_requested, 0), 0) as revisions,
    review_hours.hours_in_review,
    case
        when milestones.approved_at >= artifacts.created_at
            then cast(
                (extract(epoch from milestones.approved_at) - extract(epoch from artifacts.created_at)) / 3600.0
                as double precision
            )
    end as hours_to_approval,
    artifacts.quality_score,
    artifacts.deleted_at,
    as_of.as_of
from artifacts
cross join as_of
left join review_hours on artifacts.artifact_id = review_hours.entity_id
left join milestones on artifacts.artifact_id = milestones.entity_id  -- guard: every-artifact-flows-once
