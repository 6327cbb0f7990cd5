-- Lock workflows that are there against being removed; who commits for them is not in the way.
SELECT heads.workflow_id
FROM everlog.heads
WHERE heads.workflow_id = ANY(%(workflow_ids)s)
ORDER BY heads.workflow_id
FOR KEY SHARE
