-- What these queues have for who runs workflows of these names, unless they are paused: the names of those that are due,
-- whether they are all of the partition '', and when the next that is delayed and unheld will be.
SELECT
    queues.name,
    queues.limits,
    queues.served,
    ARRAY(
        SELECT named.name
        FROM unnest(%(names)s) AS named (name)
        WHERE EXISTS (
            SELECT
            FROM everlog.queue_places
            WHERE queue_places.queue = queues.name
                AND queue_places.name = named.name
                AND queue_places.stands = 'due'
        )
    ),
    EXISTS (
        SELECT
        FROM unnest(%(names)s) AS named (name)
        CROSS JOIN LATERAL (
            SELECT
            FROM everlog.queue_places
            WHERE queue_places.queue = queues.name
                AND queue_places.name = named.name
                AND queue_places.partition > ''
                AND queue_places.stands = 'due'
            LIMIT 1
        ) AS elsewhere
    ),
    (
        SELECT min(next.due_at)
        FROM unnest(%(names)s) AS named (name)
        CROSS JOIN LATERAL (
            SELECT queue_places.due_at
            FROM everlog.queue_places
            INNER JOIN everlog.heads ON queue_places.workflow_id = heads.workflow_id
            WHERE queue_places.queue = queues.name
                AND queue_places.name = named.name
                AND queue_places.stands = 'delayed'
                AND heads.token IS NULL
            ORDER BY queue_places.due_at
            LIMIT 1
        ) AS next
    )
FROM everlog.queues
WHERE queues.name = ANY(%(queues)s) AND NOT queues.paused
