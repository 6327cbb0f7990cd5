-- The streams of these workflows.
SELECT
    stream_rows.workflow_id,
    stream_rows.stream,
    stream_rows.first_offset,
    stream_rows.count,
    stream_rows.kind,
    stream_rows.written_at,
    stream_rows.operation,
    stream_rows.attempt,
    stream_rows.payload
FROM everlog.stream_rows
WHERE stream_rows.workflow_id = ANY(%(workflow_ids)s)
ORDER BY stream_rows.workflow_id, stream_rows.stream, stream_rows.first_offset
