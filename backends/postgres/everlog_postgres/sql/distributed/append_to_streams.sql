-- Append to streams of workflows whose heads have moved in this transaction. A row that is there already was written when
-- the answer to the same commit was lost.
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
SELECT *
FROM unnest(
    %(item_ids)s,
    %(item_streams)s,
    %(item_offsets)s,
    %(item_counts)s,
    %(item_kinds)s,
    %(item_times)s,
    %(item_operations)s,
    %(item_attempts)s,
    %(item_payloads)s
) AS item (workflow_id, stream, first_offset, count, kind, written_at, operation, attempt, payload)
ON CONFLICT (workflow_id, stream, first_offset) DO NOTHING
