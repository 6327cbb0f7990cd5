-- Which of these workflows are there, and whether they have ended. Nothing of them is locked.
SELECT heads.workflow_id, heads.ended_at IS NOT NULL
FROM everlog.heads
WHERE heads.workflow_id = ANY(%(destinations)s)
