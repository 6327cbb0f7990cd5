-- Remember which partition was served last.
UPDATE everlog.queues
SET served = %(partition)s
WHERE queues.name = %(queue)s
