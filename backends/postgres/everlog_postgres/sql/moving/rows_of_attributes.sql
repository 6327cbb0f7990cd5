-- The attributes of these workflows.
SELECT
    attributes.workflow_id,
    attributes.name,
    attributes.place,
    attributes.value,
    attributes.created_at
FROM everlog.attributes
WHERE attributes.workflow_id = ANY(%(workflow_ids)s)
ORDER BY attributes.workflow_id, attributes.name, attributes.place
