-- The events of some types of one history, in the form of read_histories.
SELECT json_group_array(json_array(workflow, seq, type, recorded_at, payload))
FROM (
    SELECT
        workflow,
        seq,
        type,
        recorded_at,
        payload,
        sum(length(CAST(payload AS BLOB))) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) / 4000000 AS part
    FROM events
    WHERE workflow = (SELECT number FROM heads WHERE workflow_id = :workflow_id)
        AND seq > :after
        AND (:until IS NULL OR seq <= :until)
        AND type IN (SELECT value FROM json_each(:types))
    ORDER BY seq
)
GROUP BY part
ORDER BY part
