-- The states of these workflows, each with those of its values that have one of these names. State and values of one
-- workflow lie on one server, and are from one snapshot.
SELECT
    heads.workflow_id,
    heads.state,
    published_values.name,
    published_values.seq,
    published_values.recorded_at,
    published_values.payload
FROM everlog.heads
LEFT JOIN everlog.published_values
    ON heads.workflow_id = published_values.workflow_id
    AND published_values.name = ANY(%(names)s)
WHERE heads.workflow_id = ANY(%(workflow_ids)s)
