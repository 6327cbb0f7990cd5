-- The values of a workflow.
SELECT json_group_array(json_array(name, seq, recorded_at, payload))
FROM published_values
WHERE workflow = (SELECT number FROM heads WHERE workflow_id = :workflow_id)
