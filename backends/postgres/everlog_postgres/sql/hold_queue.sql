-- Hold the row of a queue, so that nobody takes a slot of it meanwhile.
SELECT queues.name
FROM everlog.queues
WHERE queues.name = %(name)s
FOR UPDATE
