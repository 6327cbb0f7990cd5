-- Remove a queue that is not used, and what is remembered of it; gives a row if it was.
-- Each way to stand there has an index of its own.
WITH used AS (
    SELECT FROM everlog.queue_places WHERE queue_places.queue = %(name)s AND queue_places.stands = 'due'
    UNION ALL
    SELECT FROM everlog.queue_places WHERE queue_places.queue = %(name)s AND queue_places.stands = 'delayed'
    UNION ALL
    SELECT FROM everlog.queue_places WHERE queue_places.queue = %(name)s AND queue_places.stands = 'aside'
    UNION ALL
    SELECT FROM everlog.queue_places WHERE queue_places.queue = %(name)s AND queue_places.stands = 'admitted'
    UNION ALL
    SELECT FROM everlog.queue_slots WHERE queue_slots.queue = %(name)s
),

deleted AS (
    DELETE FROM everlog.queues
    WHERE queues.name = %(name)s
        AND NOT EXISTS (SELECT FROM used)
    RETURNING queues.name
),

forgotten AS (
    DELETE FROM everlog.queue_starts
    USING deleted
    WHERE queue_starts.queue = deleted.name
),

noted AS (
    INSERT INTO everlog.writes (written_in)
    SELECT pg_current_xact_id()
    WHERE EXISTS (SELECT FROM deleted)
)

SELECT name
FROM deleted
