-- The schedules of these workflows that are due, longest due first, as one JSON text.
SELECT json_group_array(json_array(due.name, due.revision, due.workflow, due.due_at, due.payload))
FROM (
    SELECT
        name,
        revision,
        workflow,
        due_at,
        payload
    FROM schedules
    WHERE workflow IN (SELECT value FROM json_each(:workflows)) AND due_at <= :now
    ORDER BY due_at, name
    LIMIT :limit
) AS due
