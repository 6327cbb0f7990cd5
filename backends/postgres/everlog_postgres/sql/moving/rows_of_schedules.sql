-- All schedules, as they are stored.
SELECT schedules.name, schedules.revision, schedules.workflow, schedules.due_at, schedules.payload
FROM everlog.schedules
ORDER BY schedules.name
