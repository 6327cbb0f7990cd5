-- Candidates of a claim, not locked: workflows that have an unread message which they wait for.
SELECT
    heads.workflow_id,
    unread.since,
    heads.created_at,
    heads.state,
    heads.seq,
    heads.wake_at,
    heads.topics,
    heads.build
FROM everlog.heads
INNER JOIN (
    SELECT inbox.workflow_id, min(inbox.arrived_at) AS since
    FROM everlog.inbox
    INNER JOIN everlog.heads AS waiting ON inbox.workflow_id = waiting.workflow_id
    WHERE NOT inbox.closed
        AND waiting.token IS NULL
        AND waiting.state IN ('waiting', 'paused', 'enqueued')
        AND waiting.name = ANY(%(names)s)
        AND (inbox.control OR (waiting.state = 'waiting' AND inbox.topic = ANY(waiting.topics)))
    GROUP BY inbox.workflow_id
) AS unread ON heads.workflow_id = unread.workflow_id
ORDER BY unread.since, heads.created_at, heads.workflow_id
LIMIT %(candidates)s
