-- Hold those of some workflows that are there and are not held yet; gives their ids.
INSERT INTO holds (workflow_id, held_at, held_by, reason)
SELECT heads.workflow_id, :held_at, :held_by, :reason
FROM heads
WHERE heads.workflow_id IN (SELECT value FROM json_each(:workflow_ids))
ON CONFLICT (workflow_id) DO NOTHING
RETURNING workflow_id
