-- The values of these workflows.
SELECT
    published_values.workflow_id,
    published_values.name,
    published_values.seq,
    published_values.recorded_at,
    published_values.payload
FROM everlog.published_values
WHERE published_values.workflow_id = ANY(%(workflow_ids)s)
ORDER BY published_values.workflow_id, published_values.name
