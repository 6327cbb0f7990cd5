-- Add a worker with its lease.
INSERT INTO workers (worker, process, lease_until)
VALUES (:worker, :process, :lease_until)
ON CONFLICT (worker) DO UPDATE SET process = excluded.process, lease_until = excluded.lease_until
