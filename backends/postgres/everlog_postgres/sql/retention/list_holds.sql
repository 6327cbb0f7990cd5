-- A page of holds in order of ids.
SELECT holds.workflow_id, holds.held_at, holds.held_by, holds.reason
FROM everlog.holds
WHERE holds.workflow_id > %(after)s
    AND (%(workflow_ids)s::text[] IS NULL OR holds.workflow_id = ANY(%(workflow_ids)s::text[]))
ORDER BY holds.workflow_id
LIMIT %(limit)s
