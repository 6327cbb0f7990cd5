-- Remove the heads of workflows that have ended; gives their ids.
DELETE FROM everlog.heads
WHERE heads.workflow_id = ANY(%(workflow_ids)s) AND heads.ended_at IS NOT NULL
RETURNING heads.workflow_id
