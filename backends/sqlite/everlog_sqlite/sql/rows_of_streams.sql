-- The streams of these workflows.
SELECT workflow, stream, first_offset, count, kind, written_at, operation, attempt, payload
FROM stream_rows
WHERE workflow IN (SELECT value FROM json_each(:numbers))
ORDER BY workflow, stream, first_offset
