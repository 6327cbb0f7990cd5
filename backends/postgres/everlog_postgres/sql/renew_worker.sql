-- Move a lease.
UPDATE everlog.workers
SET lease_until = %(lease_until)s
WHERE workers.worker = %(worker)s
RETURNING workers.worker
