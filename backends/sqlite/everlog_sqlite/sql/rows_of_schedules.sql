-- All schedules, as they are stored.
SELECT name, revision, workflow, due_at, payload
FROM schedules
ORDER BY name
