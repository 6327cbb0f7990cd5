-- Write a queue as it was elsewhere.
INSERT INTO everlog.queues (name, limits, declared, paused, served)
VALUES (%(name)s, %(limits)s, %(declared)s, %(paused)s, %(served)s)
ON CONFLICT (name) DO UPDATE
SET
    limits = excluded.limits,
    declared = excluded.declared,
    paused = excluded.paused,
    served = excluded.served
