-- Remember starts, which the rates of a queue count: one in each of these partitions.
INSERT INTO everlog.queue_starts (queue, partition, started_at)
SELECT %(queue)s, started.partition, %(now)s
FROM unnest(%(partitions)s) AS started (partition)
