-- All queues, as they are stored.
SELECT queues.name, queues.limits, queues.declared, queues.paused, queues.served
FROM everlog.queues
ORDER BY queues.name
