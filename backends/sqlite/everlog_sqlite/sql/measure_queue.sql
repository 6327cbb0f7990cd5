-- How many slots of a queue are taken, how many starts its rate counts, and when the full_since of so many last ones was;
-- each only as far as there is a limit to compare it with.
SELECT json_array(
    CASE
        WHEN :concurrency IS NOT NULL
            THEN (
                SELECT count(*)
                FROM (
                    SELECT 1
                    FROM queue_places
                    WHERE queue = :queue AND stands = 'admitted'
                    LIMIT coalesce(:concurrency, 0)
                )
            ) + (SELECT count(*) FROM queue_slots WHERE queue = :queue)
    END,
    CASE
        WHEN :rate IS NOT NULL
            THEN (SELECT count(*) FROM queue_starts WHERE queue = :queue AND started_at > :since)
    END,
    CASE
        WHEN :rate IS NOT NULL
            THEN (
                SELECT started_at
                FROM queue_starts
                WHERE queue = :queue AND started_at > :since
                ORDER BY started_at DESC
                LIMIT 1 OFFSET coalesce(:rate, 1) - 1
            )
    END
)
