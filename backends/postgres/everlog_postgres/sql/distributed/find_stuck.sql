-- Candidates of a claim, not locked: workflows that are stuck with another build.
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
WHERE heads.token IS NULL
    AND heads.state = 'stuck'
    AND heads.build IS DISTINCT FROM %(build)s
    AND heads.name = ANY(%(names)s)
ORDER BY heads.created_at
LIMIT %(candidates)s
