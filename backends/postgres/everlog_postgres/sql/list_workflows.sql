-- One page of heads, newest creation first.
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
WHERE (
        %(before)s::text IS NULL
        OR (heads.created_at, heads.workflow_id) < (
            SELECT last.created_at, last.workflow_id
            FROM everlog.heads AS last
            WHERE last.workflow_id = %(before)s
        )
    )
    AND (%(states)s::text[] IS NULL OR heads.state = ANY(%(states)s))
    AND (%(names)s::text[] IS NULL OR heads.name = ANY(%(names)s))
ORDER BY heads.created_at DESC, heads.workflow_id DESC
LIMIT %(limit)s
