-- Lock those of some workflows that have ended, in the order of their ids, so that nobody opens or holds them meanwhile;
-- who is locked by another transaction is left out.
SELECT heads.workflow_id
FROM everlog.heads
WHERE heads.workflow_id = ANY(%(workflow_ids)s) AND heads.ended_at IS NOT NULL
ORDER BY heads.workflow_id
FOR UPDATE SKIP LOCKED
