-- The starts of all queues, in order.
SELECT queue, partition, started_at
FROM queue_starts
ORDER BY started_at, position
