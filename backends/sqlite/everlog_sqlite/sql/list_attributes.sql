-- The attributes of these workflows.
SELECT json_group_array(json_array(heads.workflow_id, attributes.name, attributes.place, attributes.value))
FROM json_each(:workflow_ids) AS wanted
CROSS JOIN heads ON heads.workflow_id = wanted.value
CROSS JOIN attributes ON attributes.workflow = heads.number
