-- Runnable workflows of these names, longest runnable first, as JSON: since when, and the number.
-- Each reason is asked of an index of its own, so that the cost does not grow with what is held, asleep or ended.
WITH names (name) AS (
    SELECT value
    FROM json_each(:names)
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
    SELECT woken.number, min(unread.arrived_at)
    FROM inbox AS unread
    CROSS JOIN heads AS woken ON woken.number = unread.workflow
    WHERE unread.closed = 0
        AND woken.token IS NULL
        AND woken.state IN ('waiting', 'paused', 'enqueued')
        AND woken.name IN (SELECT name FROM names)
        AND (:queues IS NULL OR woken.queue IS NULL OR woken.queue IN (SELECT value FROM json_each(:queues)))
        AND (
            unread.control
            OR (woken.state = 'waiting' AND unread.topic IN (SELECT value FROM json_each(woken.topics)))
        )
    GROUP BY woken.number
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
