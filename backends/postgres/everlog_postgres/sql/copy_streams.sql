-- Copy streams of one workflow to another: each up to its first row that was written too late, or lies too far.
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
    %(workflow_id)s::text,
    written.stream,
    written.first_offset,
    written.count,
    written.kind,
    written.written_at,
    written.operation,
    written.attempt,
    written.payload
FROM everlog.stream_rows AS written
LEFT JOIN (
    SELECT
        stream_rows.stream,
        min(stream_rows.first_offset) AS bound
    FROM everlog.stream_rows
    WHERE stream_rows.workflow_id = %(source)s AND stream_rows.written_at > %(until)s
    GROUP BY stream_rows.stream
) AS late ON late.stream = written.stream
LEFT JOIN unnest(%(streams)s, %(bounds)s) AS given (stream, bound) ON given.stream = written.stream
WHERE written.workflow_id = %(source)s
    AND (late.bound IS NULL OR written.first_offset < late.bound)
    AND (given.bound IS NULL OR written.first_offset < given.bound)
