-- The places of these workflows.
SELECT workflow, came, queue, name, partition, priority, due_at, dedup_key, stands
FROM queue_places
WHERE workflow IN (SELECT value FROM json_each(:numbers))
