-- For each question, the state of its workflow and so many rows from the one that holds the place `start` on. A question
-- without rows has one of nulls.
SELECT
    question.place,
    heads.state,
    found.stream,
    found.first_offset,
    found.count,
    found.kind,
    found.written_at,
    found.operation,
    found.attempt,
    found.payload
FROM unnest(%(workflow_ids)s, %(streams)s, %(starts)s) WITH ORDINALITY AS question (workflow_id, stream, start, place)
LEFT JOIN everlog.heads ON heads.workflow_id = question.workflow_id
LEFT JOIN LATERAL (
    SELECT stream_rows.*
    FROM everlog.stream_rows
    WHERE stream_rows.workflow_id = question.workflow_id
        AND stream_rows.stream = question.stream
        AND stream_rows.first_offset >= coalesce(
            (
                SELECT before.first_offset
                FROM everlog.stream_rows AS before
                WHERE before.workflow_id = question.workflow_id
                    AND before.stream = question.stream
                    AND before.first_offset <= question.start
                ORDER BY before.first_offset DESC
                LIMIT 1
            ),
            0
        )
        AND stream_rows.first_offset + stream_rows.count > question.start
    ORDER BY stream_rows.first_offset
    LIMIT %(limit)s
) AS found ON true
ORDER BY question.place, found.first_offset
