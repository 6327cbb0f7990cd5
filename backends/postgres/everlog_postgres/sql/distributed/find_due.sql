-- Candidates of a claim, not locked: workflows whose time has come, in the order in which it did.
SELECT
    heads.workflow_id,
    heads.wake_at AS since,
    heads.created_at,
    heads.state,
    heads.seq,
    heads.wake_at,
    heads.topics,
    heads.build
FROM everlog.heads
WHERE heads.token IS NULL
    AND heads.state = 'waiting'
    AND heads.wake_at IS NOT NULL
    AND heads.wake_at <= %(now)s
    AND heads.name = ANY(%(names)s)
ORDER BY heads.wake_at, heads.workflow_id
LIMIT %(candidates)s
