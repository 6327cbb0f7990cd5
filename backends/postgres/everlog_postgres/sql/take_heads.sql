-- Write the claimant's tokens into runnable heads, longest runnable first; gives them as they are then.
-- Each reason is asked of an index of its own, so that the cost does not grow with what is held, asleep or ended.
WITH reasons AS (
    SELECT ready.*
    FROM unnest(%(names)s) AS names (name)
    CROSS JOIN LATERAL (
        SELECT heads.workflow_id, heads.created_at AS since
        FROM everlog.heads
        WHERE heads.name = names.name AND heads.token IS NULL AND heads.state IN ('queued', 'running')
        ORDER BY heads.created_at, heads.workflow_id
        LIMIT %(candidates)s
    ) AS ready
    UNION ALL
    SELECT due.*
    FROM unnest(%(names)s) AS names (name)
    CROSS JOIN LATERAL (
        SELECT heads.workflow_id, heads.wake_at AS since
        FROM everlog.heads
        WHERE heads.name = names.name
            AND heads.token IS NULL
            AND heads.state = 'waiting'
            AND heads.wake_at IS NOT NULL
            AND heads.wake_at <= %(now)s
        ORDER BY heads.wake_at, heads.workflow_id
        LIMIT %(candidates)s
    ) AS due
    UNION ALL
    -- The open messages, and the head of each: in this order, for which the LIMIT stands.
    SELECT unread.workflow_id, min(unread.arrived_at) AS since
    FROM everlog.inbox AS unread
    CROSS JOIN LATERAL (
        SELECT heads.state, heads.topics
        FROM everlog.heads
        WHERE heads.workflow_id = unread.workflow_id
            AND heads.token IS NULL
            AND heads.state IN ('waiting', 'paused')
            AND heads.name = ANY(%(names)s)
        LIMIT 1
    ) AS woken
    WHERE NOT unread.closed
        AND (unread.control OR (woken.state = 'waiting' AND unread.topic = ANY(woken.topics)))
    GROUP BY unread.workflow_id
    UNION ALL
    SELECT stuck.*
    FROM unnest(%(names)s) AS names (name)
    CROSS JOIN LATERAL (
        SELECT heads.workflow_id, heads.created_at AS since
        FROM everlog.heads
        WHERE heads.name = names.name
            AND heads.token IS NULL
            AND heads.state = 'stuck'
            AND heads.build IS DISTINCT FROM %(build)s
        ORDER BY heads.created_at
        LIMIT %(candidates)s
    ) AS stuck
),

-- The heads as this statement's snapshot shows them.
runnable AS MATERIALIZED (
    SELECT reasons.since, heads.*
    FROM (
        SELECT workflow_id, min(since) AS since
        FROM reasons
        GROUP BY workflow_id
    ) AS reasons
    INNER JOIN everlog.heads ON reasons.workflow_id = heads.workflow_id
    ORDER BY reasons.since, heads.created_at, heads.workflow_id
    LIMIT %(candidates)s
),

-- Those that another claimant has locked are passed over, and more candidates than are wanted were found for that. One
-- that was changed after the snapshot is looked at again in its newest version, and left if it is not as it was: then
-- what was true of it need not be true any more.
locked AS MATERIALIZED (
    SELECT runnable.since, heads.created_at, heads.workflow_id
    FROM runnable
    INNER JOIN everlog.heads ON runnable.workflow_id = heads.workflow_id
    WHERE heads.token IS NULL
        AND heads.state = runnable.state
        AND heads.seq = runnable.seq
        AND heads.wake_at IS NOT DISTINCT FROM runnable.wake_at
        AND heads.topics = runnable.topics
        AND heads.build IS NOT DISTINCT FROM runnable.build
    ORDER BY runnable.since, runnable.created_at, runnable.workflow_id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF heads SKIP LOCKED
),

placed AS (
    SELECT workflow_id, row_number() OVER (ORDER BY since, created_at, workflow_id) AS place
    FROM locked
)

UPDATE everlog.heads
SET
    token = (%(tokens)s)[placed.place],
    worker = %(worker)s
FROM placed
WHERE heads.workflow_id = placed.workflow_id
RETURNING
    placed.place,
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
    heads.first_seq
