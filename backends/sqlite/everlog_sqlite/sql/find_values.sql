-- For each of these names of workflows: its place in the question, the state of the workflow, and the value.
SELECT json_group_array(
    json_array(
        wanted.key,
        heads.state,
        published_values.name,
        published_values.seq,
        published_values.recorded_at,
        published_values.payload
    )
)
FROM json_each(:wanted) AS wanted
LEFT JOIN heads ON heads.workflow_id = json_extract(wanted.value, '$[0]')
LEFT JOIN published_values
    ON published_values.workflow = heads.number
    AND published_values.name = json_extract(wanted.value, '$[1]')
