-- When the next unheld waiting workflow of these names is due.
SELECT min(next.wake_at)
FROM (
    SELECT heads.wake_at
    FROM everlog.heads
    WHERE heads.token IS NULL
        AND heads.state = 'waiting'
        AND heads.wake_at IS NOT NULL
        AND heads.name = ANY(%(names)s)
    ORDER BY heads.wake_at
    LIMIT 1
) AS next
