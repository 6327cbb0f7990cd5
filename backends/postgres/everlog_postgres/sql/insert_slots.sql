-- Take slots for steps.
INSERT INTO everlog.queue_slots (worker, slot, queue, partition)
SELECT %(worker)s, taken.slot, taken.queue, taken.partition
FROM unnest(%(slots)s, %(queues)s, %(partitions)s) AS taken (slot, queue, partition)
