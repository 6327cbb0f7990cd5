-- Put schedules in the place of those of their names.
INSERT INTO schedules (name, revision, workflow, due_at, payload)
SELECT column1, column2, column3, column4, column5
FROM (VALUES (?, ?, ?, ?, ?))
WHERE typeof(column1) = 'text'
ON CONFLICT (name) DO UPDATE
SET
    revision = excluded.revision,
    workflow = excluded.workflow,
    due_at = excluded.due_at,
    payload = excluded.payload
