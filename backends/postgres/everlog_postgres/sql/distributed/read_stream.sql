-- The state of a workflow and so many rows of one of its streams, from the one that holds the place `start` on; without
-- rows, one of nulls. All of it lies on one server, and is from one snapshot.
SELECT
    heads.state,
    found.stream,
    found.first_offset,
    found.count,
    found.kind,
    found.written_at,
    found.operation,
    found.attempt,
    found.payload
FROM everlog.heads
LEFT JOIN LATERAL (
    SELECT stream_rows.*
    FROM everlog.stream_rows
    WHERE stream_rows.workflow_id = %(workflow_id)s
        AND stream_rows.stream = %(stream)s
        AND stream_rows.first_offset >= coalesce(
            (
                SELECT before.first_offset
                FROM everlog.stream_rows AS before
                WHERE before.workflow_id = %(workflow_id)s
                    AND before.stream = %(stream)s
                    AND before.first_offset <= %(start)s
                ORDER BY before.first_offset DESC
                LIMIT 1
            ),
            0
        )
        AND stream_rows.first_offset + stream_rows.count > %(start)s
    ORDER BY stream_rows.first_offset
    LIMIT %(limit)s
) AS found ON true
WHERE heads.workflow_id = %(workflow_id)s
ORDER BY found.first_offset
