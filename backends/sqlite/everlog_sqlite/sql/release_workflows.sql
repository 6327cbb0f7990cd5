-- Take the holds of these workflows back; gives their ids.
DELETE FROM holds
WHERE workflow_id IN (SELECT value FROM json_each(:workflow_ids))
RETURNING workflow_id
