-- Give back all slots of a worker.
DELETE FROM queue_slots
WHERE worker = :worker
