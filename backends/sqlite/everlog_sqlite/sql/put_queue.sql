-- Write a queue as it was elsewhere.
INSERT INTO queues (name, limits, declared, paused, served)
VALUES (:name, :limits, :declared, :paused, :served)
ON CONFLICT (name) DO UPDATE
SET
    limits = excluded.limits,
    declared = excluded.declared,
    paused = excluded.paused,
    served = excluded.served
