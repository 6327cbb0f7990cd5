-- Of a partition what measure_queue gives of a queue.
SELECT
    CASE
        WHEN %(concurrency)s::bigint IS NOT NULL
            THEN (
                SELECT count(*)
                FROM everlog.queue_places
                WHERE queue_places.queue = %(queue)s
                    AND queue_places.partition = %(partition)s
                    AND queue_places.stands = 'admitted'
            ) + (
                SELECT count(*)
                FROM everlog.queue_slots
                WHERE queue_slots.queue = %(queue)s
                    AND queue_slots.partition = %(partition)s
            )
    END,
    CASE
        WHEN %(rate)s::bigint IS NOT NULL
            THEN (
                SELECT count(*)
                FROM everlog.queue_starts
                WHERE queue_starts.queue = %(queue)s
                    AND queue_starts.partition = %(partition)s
                    AND queue_starts.started_at > %(since)s
            )
    END,
    CASE
        WHEN %(rate)s::bigint IS NOT NULL
            THEN (
                SELECT queue_starts.started_at
                FROM everlog.queue_starts
                WHERE queue_starts.queue = %(queue)s
                    AND queue_starts.partition = %(partition)s
                    AND queue_starts.started_at > %(since)s
                ORDER BY queue_starts.started_at DESC
                LIMIT 1 OFFSET coalesce(%(rate)s::bigint, 1) - 1
            )
    END
