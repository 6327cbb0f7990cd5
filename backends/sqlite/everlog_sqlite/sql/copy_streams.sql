-- Copy streams of one workflow to another: each up to its first row that was written too late, or lies too far.
WITH late AS MATERIALIZED (
    SELECT
        stream,
        min(first_offset) AS bound
    FROM stream_rows
    WHERE workflow = :source AND written_at > :until
    GROUP BY stream
),

bounds AS MATERIALIZED (
    SELECT
        json_extract(value, '$[0]') AS stream,
        json_extract(value, '$[1]') AS bound
    FROM json_each(:bounds)
)

INSERT INTO stream_rows (workflow, stream, first_offset, count, kind, written_at, operation, attempt, payload)
SELECT
    :number,
    stream_rows.stream,
    stream_rows.first_offset,
    stream_rows.count,
    stream_rows.kind,
    stream_rows.written_at,
    stream_rows.operation,
    stream_rows.attempt,
    stream_rows.payload
FROM stream_rows
LEFT JOIN late ON late.stream = stream_rows.stream
LEFT JOIN bounds ON bounds.stream = stream_rows.stream
WHERE stream_rows.workflow = :source
    AND (late.bound IS NULL OR stream_rows.first_offset < late.bound)
    AND (bounds.bound IS NULL OR stream_rows.first_offset < bounds.bound)
ORDER BY stream_rows.position
