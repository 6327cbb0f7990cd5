-- All registered workers, and the holders of workflows that are not (or no longer) registered.
SELECT workers.worker, workers.process, workers.lease_until
FROM everlog.workers
UNION ALL
SELECT holders.worker, '', 0
FROM (
    SELECT DISTINCT heads.worker
    FROM everlog.heads
    WHERE heads.worker IS NOT NULL
) AS holders
WHERE holders.worker NOT IN (SELECT workers.worker FROM everlog.workers)
