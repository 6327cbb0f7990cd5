-- Hold the rows of those of these queues that nobody else holds, so that nobody else takes a slot of them meanwhile.
SELECT queues.name, queues.limits, queues.served, queues.paused
FROM everlog.queues
WHERE queues.name = ANY(%(queues)s)
ORDER BY queues.name
FOR UPDATE SKIP LOCKED
