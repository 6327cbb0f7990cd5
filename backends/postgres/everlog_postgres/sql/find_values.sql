-- For each of these names of workflows: its place in the question, the state of the workflow, and the value.
SELECT
    wanted.place,
    heads.state,
    published_values.name,
    published_values.seq,
    published_values.recorded_at,
    published_values.payload
FROM unnest(%(workflow_ids)s, %(names)s) WITH ORDINALITY AS wanted (workflow_id, name, place)
LEFT JOIN everlog.heads ON heads.workflow_id = wanted.workflow_id
LEFT JOIN everlog.published_values
    ON published_values.workflow_id = wanted.workflow_id
    AND published_values.name = wanted.name
ORDER BY wanted.place
