-- A page of what was done to workflows, in order.
SELECT number, done_at, done_by, action, workflow_ids, said
FROM audit
WHERE number > :after
ORDER BY number
LIMIT :limit
