-- Remove a queue that is not used.
DELETE FROM queues
WHERE name = :name
    AND NOT EXISTS (SELECT 1 FROM queue_places WHERE queue = :name)
    AND NOT EXISTS (SELECT 1 FROM queue_slots WHERE queue = :name)
