-- Of a partition what measure_queue gives of a queue.
SELECT json_array(
    CASE
        WHEN :concurrency IS NOT NULL
            THEN (
                SELECT count(*)
                FROM (
                    SELECT 1
                    FROM queue_places
                    WHERE queue = :queue AND partition = :partition AND stands = 'admitted'
                    LIMIT coalesce(:concurrency, 0)
                )
            ) + (SELECT count(*) FROM queue_slots WHERE queue = :queue AND partition = :partition)
    END,
    CASE
        WHEN :rate IS NOT NULL
            THEN (
                SELECT count(*)
                FROM queue_starts
                WHERE queue = :queue AND partition = :partition AND started_at > :since
            )
    END,
    CASE
        WHEN :rate IS NOT NULL
            THEN (
                SELECT started_at
                FROM queue_starts
                WHERE queue = :queue AND partition = :partition AND started_at > :since
                ORDER BY started_at DESC
                LIMIT 1 OFFSET coalesce(:rate, 1) - 1
            )
    END
)
