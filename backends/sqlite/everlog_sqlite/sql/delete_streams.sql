-- Remove the streams of workflows.
DELETE FROM stream_rows
WHERE workflow IN (SELECT value FROM json_each(:numbers))
