-- Both urgency vocabularies of OrgX on one scale; an urgency that is not here, or none, counts as medium.
-- grain: urgency as sent
-- key: urgency
-- columns:
--   urgency       As OrgX sends it.
--   level         low, medium, high or critical.
--   level_rank    1 to 4, for sorting.
select urgency, level, level_rank
from (
    values
    ('deferred', 'low', 1),
    ('low', 'low', 1),
    ('standard', 'medium', 2),
    ('normal', 'medium', 2),
    ('medium', 'medium', 2),
    ('high', 'high', 3),
    ('urgent', 'high', 3),
    ('critical', 'critical', 4)
) as mapping (urgency, level, level_rank)
