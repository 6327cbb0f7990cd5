-- Write the claimant's token into one head that is not ended and that nobody holds; in the form of take_heads.
WITH locked AS MATERIALIZED (
    SELECT heads.workflow_id
    FROM everlog.heads
    WHERE heads.workflow_id = %(workflow_id)s AND heads.token IS NULL AND heads.ended_at IS NULL
    FOR NO KEY UPDATE OF heads SKIP LOCKED
)

UPDATE everlog.heads
SET
    token = %(token)s,
    worker = %(worker)s
FROM locked
WHERE heads.workflow_id = locked.workflow_id AND heads.workflow_id = %(workflow_id)s
RETURNING
    1,
    heads.workflow_id,
    heads.name,
    heads.state,
    heads.seq,
    heads.bytes,
    heads.created_at,
    heads.ended_at,
    heads.token,
    heads.worker,
    heads.wake_at,
    heads.topics,
    heads.takeovers,
    heads.build,
    heads.why,
    heads.queue,
    heads.first_seq
