-- Every artifact ever seen, from draft to approval.
-- Review and approval times come from history: null for events before the first read.
-- Deleted artifacts are included, with deleted_at.
-- grain: artifact
-- key: artifact_id
-- columns:
--   artifact_id           Artifact id.
--   name                  Name.
--   artifact_type         Type, a dotted code.
--   workspace_id          Workspace it belongs to.
--   initiative_id         Initiative it belongs to.
--   task_id               Task that produced it.
--   made_by               agent, human, or unknown.
--   agent_id              Agent that created it; an alias counts as the agent it stands for. Null for humans.
--   made_by_name          Name of the creator.
--   status                Status as OrgX sends it.
--   status_group          draft, in_review, changes_requested, approved, superseded or closed.
--   is_approved           Whether it is approved now.
--   created_at            Creation time (UTC).
--   first_review_at       When it was first seen in review (UTC).
--   approved_at           When it was first seen approved (UTC); null if that was before the first read.
--   revisions             Number of revisions: OrgX's version minus one, or the number of requests for changes
--                         that were seen, whichever is greater.
--   hours_in_review       Hours in review, up to as_of if it still is; null if it never was.
--   hours_to_approval     Hours from creation to approval; null if one of the two is unknown.
--   quality_score         Quality score from OrgX.
--   deleted_at            First read without it (UTC); null while OrgX lists it.
--   as_of                 Reference time for open reviews (UTC).
with artifacts as (
    select * from marts.stg_orgx__artifacts
),

as_of as (
    select as_of from marts.stg_orgx__as_of
),

transitions as (
    select * from marts.status_transitions where entity_type = 'artifact'
),

-- If the first version seen is already in review, the review is counted from that read.
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
