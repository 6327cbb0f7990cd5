-- Remove a worker.
DELETE FROM workers
WHERE worker = :worker
