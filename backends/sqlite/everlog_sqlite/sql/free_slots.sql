-- Give back slots of a worker.
DELETE FROM queue_slots
WHERE worker = :worker AND slot IN (SELECT value FROM json_each(:slots))
