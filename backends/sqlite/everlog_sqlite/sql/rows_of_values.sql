-- The values of these workflows.
SELECT workflow, name, seq, recorded_at, payload
FROM published_values
WHERE workflow IN (SELECT value FROM json_each(:numbers))
ORDER BY workflow, name
