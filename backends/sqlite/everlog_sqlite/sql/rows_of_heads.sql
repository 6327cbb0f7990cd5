-- The heads of these workflows.
SELECT
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
    topics,
    takeovers,
    build,
    why,
    queue,
    first_seq
FROM heads
WHERE number IN (SELECT value FROM json_each(:numbers))
