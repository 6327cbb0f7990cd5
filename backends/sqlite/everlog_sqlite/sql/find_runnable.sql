-- Runnable workflows of these names, longest runnable first, as JSON: since when, and the number.
-- Each reason is asked of an index of its own, so that the cost does not grow with what is held, asleep or ended.
WITH RECURSIVE names (name) AS (
    SELECT value
    FROM json_each(:names)
),

-- Whose inboxes are not empty. Each is found through the one before, past all of its messages.
destinations (workflow) AS (
    SELECT min(workflow)
    FROM inbox
    WHERE closed = 0
    UNION ALL
    SELECT (SELECT min(inbox.workflow) FROM inbox WHERE inbox.closed = 0 AND inbox.workflow > destinations.workflow)
    FROM destinations
    WHERE destinations.workflow IS NOT NULL
),

reasons (number, since) AS (
    SELECT ready.number, ready.created_at
    FROM names
    CROSS JOIN heads AS ready
        ON ready.number IN (
            SELECT number
            FROM heads
            WHERE name = names.name
                AND token IS NULL
                AND state IN ('queued', 'running')
                AND (:queues IS NULL OR queue IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
            ORDER BY created_at, number
            LIMIT :limit
        )
    UNION ALL
    SELECT due.number, due.wake_at
    FROM names
    CROSS JOIN heads AS due
        ON due.number IN (
            SELECT number
            FROM heads
            WHERE name = names.name
                AND token IS NULL
                AND state = 'waiting'
                AND wake_at IS NOT NULL
                AND wake_at <= :now
                AND (:queues IS NULL OR queue IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
            ORDER BY wake_at, number
            LIMIT :limit
        )
    UNION ALL
    SELECT ordered.number, min(orders.arrived_at)
    FROM inbox AS orders
    CROSS JOIN heads AS ordered ON ordered.number = orders.workflow
    WHERE orders.closed = 0
        AND orders.control
        AND ordered.token IS NULL
        AND ordered.state IN ('waiting', 'paused', 'enqueued')
        AND ordered.name IN (SELECT name FROM names)
        AND (:queues IS NULL OR ordered.queue IS NULL OR ordered.queue IN (SELECT value FROM json_each(:queues)))
    GROUP BY ordered.number
    UNION ALL
    SELECT woken.number, unread.arrived_at
    FROM destinations
    CROSS JOIN heads AS woken ON woken.number = destinations.workflow
    CROSS JOIN json_each(woken.topics) AS awaited
    CROSS JOIN inbox AS unread
        ON unread.row = (
            SELECT row
            FROM inbox
            WHERE workflow = woken.number AND closed = 0 AND topic = awaited.value AND control = 0
            ORDER BY arrived_at
            LIMIT 1
        )
    WHERE woken.token IS NULL
        AND woken.state = 'waiting'
        AND woken.name IN (SELECT name FROM names)
        AND (:queues IS NULL OR woken.queue IS NULL OR woken.queue IN (SELECT value FROM json_each(:queues)))
    UNION ALL
    SELECT stuck.number, stuck.created_at
    FROM names
    CROSS JOIN heads AS stuck ON stuck.name = names.name
    WHERE stuck.token IS NULL
        AND stuck.state = 'stuck'
        AND stuck.build IS NOT :build
        AND (:queues IS NULL OR stuck.queue IS NULL OR stuck.queue IN (SELECT value FROM json_each(:queues)))
)

SELECT json_group_array(json_array(since, number))
FROM (
    SELECT min(since) AS since, number
    FROM reasons
    GROUP BY number
    ORDER BY since, number
    LIMIT :limit
)
