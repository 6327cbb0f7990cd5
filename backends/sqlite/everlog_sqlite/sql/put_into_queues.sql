-- Put workflows into queues, in the order given.
INSERT INTO queue_places (workflow, queue, name, partition, priority, due_at, dedup_key, stands)
SELECT column1, column2, column3, column4, column5, column6, column7, column8
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?))
WHERE column1 > 0
