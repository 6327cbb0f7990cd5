-- When the next schedule of these workflows is due that is not yet.
SELECT min(next.due_at)
FROM unnest(%(workflows)s) AS workflows (name)
CROSS JOIN LATERAL (
    SELECT min(schedules.due_at) AS due_at
    FROM everlog.schedules
    WHERE schedules.workflow = workflows.name AND schedules.due_at > %(now)s
) AS next
