-- The attributes of these workflows.
SELECT
    attributes.workflow_id,
    attributes.name,
    attributes.place,
    attributes.value
FROM everlog.attributes
WHERE attributes.workflow_id = ANY(%(workflow_ids)s)
