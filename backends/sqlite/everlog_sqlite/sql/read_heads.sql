-- The heads of these numbers, in the form of find_heads.
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
FROM heads
WHERE number IN (SELECT value FROM json_each(:numbers))
