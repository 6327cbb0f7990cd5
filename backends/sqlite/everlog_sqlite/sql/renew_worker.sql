-- Move a lease.
UPDATE workers
SET lease_until = :lease_until
WHERE worker = :worker
