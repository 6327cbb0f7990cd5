-- One page of heads, newest creation first, in the form of find_heads.
SELECT json_group_array(
    json_array(
        number,
        workflow_id,
        name,
        state,
        seq,
        bytes,
        created_at,
        ended_at,
        token,
        worker,
        wake_at,
        json(topics),
        takeovers,
        build,
        why,
        queue,
        first_seq
    )
)
FROM (
    SELECT *
    FROM heads
    WHERE (
            :before IS NULL
            OR (created_at, workflow_id) < (SELECT created_at, workflow_id FROM heads WHERE workflow_id = :before)
        )
        AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
        AND (:names IS NULL OR name IN (SELECT value FROM json_each(:names)))
    ORDER BY created_at DESC, workflow_id DESC
    LIMIT :limit
)
