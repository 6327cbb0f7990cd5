-- Add a worker with its lease.
INSERT INTO everlog.workers (worker, process, lease_until)
VALUES (%(worker)s, %(process)s, %(lease_until)s)
ON CONFLICT (worker) DO UPDATE SET process = excluded.process, lease_until = excluded.lease_until
