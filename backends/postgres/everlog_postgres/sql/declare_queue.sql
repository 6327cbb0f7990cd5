-- Create a queue, or change it to what is declared.
WITH declared AS (
    INSERT INTO everlog.queues (name, limits, declared)
    VALUES (%(name)s, %(limits)s, %(limits)s)
    ON CONFLICT (name) DO UPDATE SET limits = excluded.limits, declared = excluded.declared
    RETURNING name
),

noted AS (
    INSERT INTO everlog.writes (written_in)
    SELECT pg_current_xact_id()
    WHERE EXISTS (SELECT FROM declared)
)

SELECT name
FROM declared
