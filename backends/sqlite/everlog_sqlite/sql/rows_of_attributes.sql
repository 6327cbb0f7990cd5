-- The attributes of these workflows.
SELECT heads.number, attributes.name, attributes.place, attributes.value, attributes.created_at
FROM heads
CROSS JOIN attributes ON attributes.workflow_id = heads.workflow_id
WHERE heads.number IN (SELECT value FROM json_each(:numbers))
ORDER BY heads.number, attributes.name, attributes.place
