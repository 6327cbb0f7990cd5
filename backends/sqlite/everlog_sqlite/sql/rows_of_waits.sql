-- The listed waits of these workflows.
SELECT workflow, seq, operation, topic, title, opened_at, due_at, metadata, schema
FROM waits
WHERE workflow IN (SELECT value FROM json_each(:numbers))
ORDER BY workflow, seq
