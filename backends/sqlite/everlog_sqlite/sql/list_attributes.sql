-- The attributes of these workflows.
SELECT json_group_array(json_array(workflow_id, name, place, value))
FROM attributes
WHERE workflow_id IN (SELECT value FROM json_each(:workflow_ids))
