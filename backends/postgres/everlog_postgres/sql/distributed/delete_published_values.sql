-- Remove the values of workflows whose heads were removed.
DELETE FROM everlog.published_values
WHERE published_values.workflow_id = ANY(%(removed)s)
