-- The heads of these workflows, as one JSON text: every row that is fetched apart would give up the interpreter's lock.
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
WHERE workflow_id IN (SELECT value FROM json_each(:workflow_ids))
