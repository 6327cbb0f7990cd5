-- The histories of these workflows.
SELECT workflow, seq, type, recorded_at, payload
FROM events
WHERE workflow IN (SELECT value FROM json_each(:numbers))
ORDER BY workflow, seq
