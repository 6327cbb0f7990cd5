-- Remove a worker.
DELETE FROM everlog.workers
WHERE workers.worker = %(worker)s
