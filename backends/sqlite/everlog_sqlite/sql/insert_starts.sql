-- Remember starts, which the rates of a queue count: one in each of these partitions.
INSERT INTO queue_starts (queue, partition, started_at)
SELECT :queue, value, :now
FROM json_each(:partitions)
