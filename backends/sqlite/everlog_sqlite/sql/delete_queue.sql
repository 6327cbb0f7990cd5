-- Remove a queue that is not used. Each way to stand there has an index of its own.
DELETE FROM queues
WHERE name = :name
    AND NOT EXISTS (
        SELECT 1 FROM queue_places WHERE queue = :name AND stands = 'due'
        UNION ALL
        SELECT 1 FROM queue_places WHERE queue = :name AND stands = 'delayed'
        UNION ALL
        SELECT 1 FROM queue_places WHERE queue = :name AND stands = 'aside'
        UNION ALL
        SELECT 1 FROM queue_places WHERE queue = :name AND stands = 'admitted'
        UNION ALL
        SELECT 1 FROM queue_slots WHERE queue = :name
    )
