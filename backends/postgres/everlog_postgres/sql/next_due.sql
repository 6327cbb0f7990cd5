-- When the next unheld waiting workflow of these names is due.
SELECT min(next.wake_at)
FROM unnest(%(names)s) AS names (name)
CROSS JOIN LATERAL (
    SELECT min(heads.wake_at) AS wake_at
    FROM everlog.heads
    WHERE heads.name = names.name
        AND heads.token IS NULL
        AND heads.state = 'waiting'
        AND heads.wake_at IS NOT NULL
        AND (%(queues)s::text[] IS NULL OR heads.queue IS NULL OR heads.queue = ANY(%(queues)s))
) AS next
