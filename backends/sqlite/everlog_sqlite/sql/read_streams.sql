-- For each question, (workflow id, stream, start), the state of its workflow and so many rows from the one that holds the
-- place `start` on, as JSON texts of some megabytes each. A question without rows has one of nulls.
SELECT json_group_array(
    json_array(question, state, stream, first_offset, count, kind, written_at, operation, attempt, payload)
)
FROM (
    SELECT
        question.key AS question,
        heads.state,
        stream_rows.stream,
        stream_rows.first_offset,
        stream_rows.count,
        stream_rows.kind,
        stream_rows.written_at,
        stream_rows.operation,
        stream_rows.attempt,
        stream_rows.payload,
        sum(coalesce(length(CAST(stream_rows.payload AS BLOB)), 0)) OVER (
            ORDER BY question.key, stream_rows.first_offset ROWS UNBOUNDED PRECEDING
        ) / 4000000 AS part
    FROM json_each(:questions) AS question
    LEFT JOIN heads ON heads.workflow_id = json_extract(question.value, '$[0]')
    LEFT JOIN stream_rows
        ON stream_rows.workflow = heads.number
        AND stream_rows.stream = json_extract(question.value, '$[1]')
        AND stream_rows.first_offset >= coalesce(
            (
                SELECT max(before.first_offset)
                FROM stream_rows AS before
                WHERE before.workflow = heads.number
                    AND before.stream = json_extract(question.value, '$[1]')
                    AND before.first_offset <= json_extract(question.value, '$[2]')
            ),
            0
        )
        AND stream_rows.first_offset < coalesce(
            (
                SELECT after.first_offset
                FROM stream_rows AS after
                WHERE after.workflow = heads.number
                    AND after.stream = json_extract(question.value, '$[1]')
                    AND after.first_offset > json_extract(question.value, '$[2]')
                ORDER BY after.first_offset
                LIMIT 1 OFFSET :limit - 1
            ),
            9223372036854775807
        )
        AND stream_rows.first_offset + stream_rows.count > json_extract(question.value, '$[2]')
)
GROUP BY part
ORDER BY part
