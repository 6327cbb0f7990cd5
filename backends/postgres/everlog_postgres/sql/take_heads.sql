-- Write the claimant's tokens into runnable heads, longest runnable first; gives them as they are then.
-- Each reason is asked of an index of its own, so that the cost does not grow with what is held, asleep or ended.
WITH RECURSIVE
-- Whose inboxes are not empty. Each is found through the one before, past all of its messages.
destinations (workflow_id) AS (
    (
        SELECT inbox.workflow_id
        FROM everlog.inbox
        WHERE NOT inbox.closed
        ORDER BY inbox.workflow_id
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT inbox.workflow_id
        FROM everlog.inbox
        WHERE NOT inbox.closed AND inbox.workflow_id > destinations.workflow_id
        ORDER BY inbox.workflow_id
        LIMIT 1
    )
    FROM destinations
    WHERE destinations.workflow_id IS NOT NULL
),

reasons AS (
    SELECT ready.*
    FROM unnest(%(names)s) AS names (name)
    CROSS JOIN LATERAL (
        SELECT heads.workflow_id, heads.created_at AS since
        FROM everlog.heads
        WHERE heads.name = names.name
            AND heads.token IS NULL
            AND heads.state IN ('queued', 'running')
            AND (%(queues)s::text[] IS NULL OR heads.queue IS NULL OR heads.queue = ANY(%(queues)s))
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
            AND (%(queues)s::text[] IS NULL OR heads.queue IS NULL OR heads.queue = ANY(%(queues)s))
        ORDER BY heads.wake_at, heads.workflow_id
        LIMIT %(candidates)s
    ) AS due
    UNION ALL
    -- The open orders, and the head of each: in this order, for which the LIMIT stands.
    SELECT orders.workflow_id, min(orders.arrived_at) AS since
    FROM everlog.inbox AS orders
    CROSS JOIN LATERAL (
        SELECT heads.workflow_id
        FROM everlog.heads
        WHERE heads.workflow_id = orders.workflow_id
            AND heads.token IS NULL
            AND heads.state IN ('waiting', 'paused', 'enqueued')
            AND heads.name = ANY(%(names)s)
            AND (%(queues)s::text[] IS NULL OR heads.queue IS NULL OR heads.queue = ANY(%(queues)s))
        LIMIT 1
    ) AS ordered
    WHERE NOT orders.closed AND orders.control
    GROUP BY orders.workflow_id
    UNION ALL
    SELECT woken.workflow_id, unread.arrived_at AS since
    FROM destinations
    CROSS JOIN LATERAL (
        SELECT heads.workflow_id, heads.topics
        FROM everlog.heads
        WHERE heads.workflow_id = destinations.workflow_id
            AND heads.token IS NULL
            AND heads.state = 'waiting'
            AND heads.name = ANY(%(names)s)
            AND (%(queues)s::text[] IS NULL OR heads.queue IS NULL OR heads.queue = ANY(%(queues)s))
        LIMIT 1
    ) AS woken
    CROSS JOIN LATERAL unnest(woken.topics) AS awaited (topic)
    CROSS JOIN LATERAL (
        SELECT inbox.arrived_at
        FROM everlog.inbox
        WHERE inbox.workflow_id = woken.workflow_id
            AND NOT inbox.closed
            AND inbox.topic = awaited.topic
            AND NOT inbox.control
        ORDER BY inbox.arrived_at
        LIMIT 1
    ) AS unread
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
            AND (%(queues)s::text[] IS NULL OR heads.queue IS NULL OR heads.queue = ANY(%(queues)s))
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
    heads.queue,
    heads.first_seq
