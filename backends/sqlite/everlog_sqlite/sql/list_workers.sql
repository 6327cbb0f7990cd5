-- All registered workers, and who holds workflows or slots and is not (or no longer) registered, as one JSON text.
SELECT json_group_array(json(listed.worker))
FROM (
    SELECT json_array(worker, process, lease_until) AS worker
    FROM workers
    UNION ALL
    SELECT DISTINCT json_array(heads.worker, '', 0) AS worker
    FROM heads
    WHERE heads.worker IS NOT NULL
        AND heads.worker NOT IN (SELECT workers.worker FROM workers)
    UNION
    SELECT json_array(queue_slots.worker, '', 0) AS worker
    FROM queue_slots
    WHERE queue_slots.worker NOT IN (SELECT workers.worker FROM workers)
) AS listed
