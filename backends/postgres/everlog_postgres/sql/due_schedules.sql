-- The schedules of these workflows that are due, longest due first.
SELECT
    due.name,
    due.revision,
    due.workflow,
    due.due_at,
    due.payload
FROM unnest(%(workflows)s) AS workflows (name)
CROSS JOIN LATERAL (
    SELECT schedules.*
    FROM everlog.schedules
    WHERE schedules.workflow = workflows.name AND schedules.due_at <= %(now)s
    ORDER BY schedules.due_at, schedules.name
    LIMIT %(limit)s
) AS due
ORDER BY due.due_at, due.name
LIMIT %(limit)s
