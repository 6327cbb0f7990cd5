-- One page of waits, the oldest first.
SELECT json_group_array(
    json_array(workflow_id, seq, operation, topic, title, opened_at, due_at, metadata, schema)
)
FROM (
    SELECT heads.workflow_id, waits.*
    FROM waits
    CROSS JOIN heads ON heads.number = waits.workflow
    WHERE (:topic IS NULL OR waits.topic = :topic)
        AND (:workflow_id IS NULL OR waits.workflow = (SELECT number FROM heads WHERE workflow_id = :workflow_id))
        AND (:seq IS NULL OR waits.seq = :seq)
        AND (
            :opened_at IS NULL
            OR (waits.opened_at, heads.workflow_id, waits.seq) > (:opened_at, :last_id, :last_seq)
        )
        AND (:opened_at IS NULL OR waits.opened_at >= :opened_at)
    ORDER BY waits.opened_at, heads.workflow_id, waits.seq
    LIMIT :limit
)
