-- Candidates of a claim, not locked: workflows that are ready, in the order of their age.
SELECT
    heads.workflow_id,
    heads.created_at AS since,
    heads.created_at,
    heads.state,
    heads.seq,
    heads.wake_at,
    heads.topics,
    heads.build
FROM everlog.heads
WHERE heads.token IS NULL AND heads.state IN ('queued', 'running') AND heads.name = ANY(%(names)s)
ORDER BY heads.created_at, heads.workflow_id
LIMIT %(candidates)s
