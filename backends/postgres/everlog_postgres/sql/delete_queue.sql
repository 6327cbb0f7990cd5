-- Remove a queue that is not used, and what is remembered of it; gives a row if it was.
WITH deleted AS (
    DELETE FROM everlog.queues
    WHERE queues.name = %(name)s
        AND NOT EXISTS (SELECT FROM everlog.queue_places WHERE queue_places.queue = %(name)s)
        AND NOT EXISTS (SELECT FROM everlog.queue_slots WHERE queue_slots.queue = %(name)s)
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
