-- Write places as they were elsewhere; one without `came` comes behind those that are there.
INSERT INTO queue_places (workflow, came, queue, name, partition, priority, due_at, dedup_key, stands)
SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?))
WHERE column1 > 0
