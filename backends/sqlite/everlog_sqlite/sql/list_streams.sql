-- The streams of a workflow, with their lengths and the kinds of their last rows.
SELECT json_group_array(json_array(last.stream, stream_rows.first_offset + stream_rows.count, stream_rows.kind))
FROM (
    SELECT workflow, stream, max(first_offset) AS first_offset
    FROM stream_rows
    WHERE workflow = (SELECT number FROM heads WHERE workflow_id = :workflow_id)
    GROUP BY workflow, stream
) AS last
INNER JOIN stream_rows
    ON stream_rows.workflow = last.workflow
    AND stream_rows.stream = last.stream
    AND stream_rows.first_offset = last.first_offset
