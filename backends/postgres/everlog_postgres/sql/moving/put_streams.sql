-- Write streams as they were elsewhere.
INSERT INTO everlog.stream_rows (
    workflow_id,
    stream,
    first_offset,
    count,
    kind,
    written_at,
    operation,
    attempt,
    payload
)
SELECT
    new.workflow_id,
    new.stream,
    new.first_offset,
    new.count,
    new.kind,
    new.written_at,
    new.operation,
    new.attempt,
    new.payload
FROM unnest(
    %(workflow_id)s,
    %(stream)s,
    %(first_offset)s,
    %(count)s,
    %(kind)s,
    %(written_at)s,
    %(operation)s,
    %(attempt)s,
    %(payload)s
) WITH ORDINALITY AS new (workflow_id, stream, first_offset, count, kind, written_at, operation, attempt, payload, ordinal)
ORDER BY new.ordinal
