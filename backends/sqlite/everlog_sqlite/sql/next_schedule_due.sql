-- When the next schedule of these workflows is due that is not yet.
SELECT min((
    SELECT min(due_at)
    FROM schedules
    WHERE workflow = workflows.value AND due_at > :now
))
FROM json_each(:workflows) AS workflows
