-- Hold those of some workflows that are there and are not held yet; gives their ids.
INSERT INTO everlog.holds (workflow_id, held_at, held_by, reason)
SELECT heads.workflow_id, %(held_at)s, %(held_by)s, %(reason)s
FROM everlog.heads
WHERE heads.workflow_id = ANY(%(workflow_ids)s)
ORDER BY heads.workflow_id
ON CONFLICT (workflow_id) DO NOTHING
RETURNING holds.workflow_id
