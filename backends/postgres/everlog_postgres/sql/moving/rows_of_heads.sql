-- The heads of these workflows, in order of age.
SELECT
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
FROM everlog.heads
WHERE heads.workflow_id = ANY(%(workflow_ids)s)
ORDER BY heads.created_at, heads.workflow_id
