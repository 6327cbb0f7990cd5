-- The starts of all queues, in order.
SELECT queue_starts.queue, queue_starts.partition, queue_starts.started_at
FROM everlog.queue_starts
ORDER BY queue_starts.started_at, queue_starts.partition
