-- Give back slots of a worker.
WITH freed AS (
    DELETE FROM everlog.queue_slots
    WHERE queue_slots.worker = %(worker)s AND queue_slots.slot = ANY(%(slots)s)
    RETURNING queue_slots.slot
)

INSERT INTO everlog.writes (written_in)
SELECT pg_current_xact_id()
WHERE EXISTS (SELECT FROM freed)
