-- The values of a workflow.
SELECT
    published_values.name,
    published_values.seq,
    published_values.recorded_at,
    published_values.payload
FROM everlog.published_values
WHERE published_values.workflow_id = %(workflow_id)s
ORDER BY published_values.name
