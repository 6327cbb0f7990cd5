-- All queues, in order of their names.
SELECT queues.name, queues.limits, queues.declared, queues.paused
FROM everlog.queues
ORDER BY queues.name
