-- Remove the attributes of workflows whose heads were removed.
DELETE FROM everlog.attributes
WHERE attributes.workflow_id = ANY(%(removed)s)
