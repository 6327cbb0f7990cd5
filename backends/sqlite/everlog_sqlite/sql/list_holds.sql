-- A page of holds in order of ids.
SELECT workflow_id, held_at, held_by, reason
FROM holds
WHERE workflow_id > :after
    AND (:workflow_ids IS NULL OR workflow_id IN (SELECT value FROM json_each(:workflow_ids)))
ORDER BY workflow_id
LIMIT :limit
