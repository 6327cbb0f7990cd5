-- All registered workers, and who holds workflows or slots and is not (or no longer) registered.
-- The holders are found one after the other in the index of what is held, however much each holds.
WITH RECURSIVE holders AS (
    (
        SELECT heads.worker
        FROM everlog.heads
        WHERE heads.worker IS NOT NULL
        ORDER BY heads.worker
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT heads.worker
        FROM everlog.heads
        WHERE heads.worker IS NOT NULL AND heads.worker > holders.worker
        ORDER BY heads.worker
        LIMIT 1
    )
    FROM holders
    WHERE holders.worker IS NOT NULL
)

SELECT workers.worker, workers.process, workers.lease_until
FROM everlog.workers
UNION ALL
SELECT holders.worker, '', 0
FROM holders
WHERE holders.worker IS NOT NULL
    AND NOT EXISTS (SELECT FROM everlog.workers WHERE workers.worker = holders.worker)
UNION
SELECT queue_slots.worker, '', 0
FROM everlog.queue_slots
WHERE NOT EXISTS (SELECT FROM everlog.workers WHERE workers.worker = queue_slots.worker)
