-- The numbers of these workflows, in order of age.
SELECT number
FROM heads
WHERE workflow_id IN (SELECT value FROM json_each(:workflow_ids))
ORDER BY created_at, workflow_id
