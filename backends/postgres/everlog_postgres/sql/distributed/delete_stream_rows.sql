-- Remove the streams of workflows whose heads were removed.
DELETE FROM everlog.stream_rows
WHERE stream_rows.workflow_id = ANY(%(removed)s)
