-- Change what is given of a queue; gives a row if it is there.
WITH changed AS (
    UPDATE everlog.queues
    SET
        limits = coalesce(%(limits)s, queues.limits),
        paused = coalesce(%(paused)s, queues.paused)
    WHERE queues.name = %(name)s
    RETURNING queues.name
),

noted AS (
    INSERT INTO everlog.writes (written_in)
    SELECT pg_current_xact_id()
    WHERE EXISTS (SELECT FROM changed)
)

SELECT name
FROM changed
