-- Create a queue, or change it.
INSERT INTO queues (name, limits, declared, paused)
VALUES (:name, :limits, :declared, :paused)
ON CONFLICT (name) DO UPDATE
SET
    limits = excluded.limits,
    declared = excluded.declared,
    paused = excluded.paused
