-- The streams of a workflow, with their lengths and the kinds of their last rows. They are found one after the other in
-- the index, however long each is.
WITH RECURSIVE named AS (
    (
        SELECT stream_rows.stream
        FROM everlog.stream_rows
        WHERE stream_rows.workflow_id = %(workflow_id)s
        ORDER BY stream_rows.stream
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT stream_rows.stream
        FROM everlog.stream_rows
        WHERE stream_rows.workflow_id = %(workflow_id)s AND stream_rows.stream > named.stream
        ORDER BY stream_rows.stream
        LIMIT 1
    )
    FROM named
    WHERE named.stream IS NOT NULL
)

SELECT
    named.stream,
    last.first_offset + last.count,
    last.kind
FROM named
CROSS JOIN LATERAL (
    SELECT stream_rows.first_offset, stream_rows.count, stream_rows.kind
    FROM everlog.stream_rows
    WHERE stream_rows.workflow_id = %(workflow_id)s AND stream_rows.stream = named.stream
    ORDER BY stream_rows.first_offset DESC
    LIMIT 1
) AS last
ORDER BY named.stream
