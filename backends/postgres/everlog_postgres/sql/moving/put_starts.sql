-- Write the starts that the rates of a queue count.
INSERT INTO everlog.queue_starts (queue, partition, started_at)
SELECT %(queue)s, new.partition, new.started_at
FROM unnest(%(partitions)s, %(times)s) AS new (partition, started_at)
