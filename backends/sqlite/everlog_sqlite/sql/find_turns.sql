-- The partitions of a queue from one name to another in which somebody of these names is due and unheld, until so many
-- have a slot to give: each with what measure_queue gives of a queue. No name can lie between a name and that with
-- char(1) behind it, so a search from there finds the next one, however many are due in each. Who asks has no room for
-- those of the partitions in `full`.
WITH RECURSIVE names (name) AS (
    SELECT value
    FROM json_each(:names)
),

-- `free` counts those before that have a slot to give; the first row stands before the first partition.
turns (partition, taken, started, full_since, free) AS (
    SELECT NULL, NULL, NULL, NULL, 0
    UNION ALL
    SELECT
        first.partition,
        CASE
            WHEN :concurrency IS NOT NULL
                THEN (
                    SELECT count(*)
                    FROM (
                        SELECT 1
                        FROM queue_places
                        WHERE queue = :queue AND partition = first.partition AND stands = 'admitted'
                        LIMIT coalesce(:concurrency, 0)
                    )
                ) + (SELECT count(*) FROM queue_slots WHERE queue = :queue AND partition = first.partition)
        END,
        CASE
            WHEN :rate IS NOT NULL
                THEN (
                    SELECT count(*)
                    FROM queue_starts
                    WHERE queue = :queue AND partition = first.partition AND started_at > :since
                )
        END,
        CASE
            WHEN :rate IS NOT NULL
                THEN (
                    SELECT started_at
                    FROM queue_starts
                    WHERE queue = :queue AND partition = first.partition AND started_at > :since
                    ORDER BY started_at DESC
                    LIMIT 1 OFFSET coalesce(:rate, 1) - 1
                )
        END,
        turns.free + (
            turns.partition IS NOT NULL
            AND (:concurrency IS NULL OR turns.taken < :concurrency)
            AND (:rate IS NULL OR turns.started < :rate)
            AND turns.partition NOT IN (SELECT value FROM json_each(:full))
        )
    FROM turns
    CROSS JOIN queue_places AS first
        ON first.came = (
            SELECT found.came
            FROM names
            CROSS JOIN queue_places AS found
                ON found.came = (
                    SELECT place.came
                    FROM queue_places AS place
                    CROSS JOIN heads ON heads.number = place.workflow
                    WHERE place.queue = :queue
                        AND place.name = names.name
                        AND place.partition >= coalesce(turns.partition || char(1), :first)
                        AND place.stands = 'due'
                        AND heads.token IS NULL
                    ORDER BY place.partition
                    LIMIT 1
                )
            ORDER BY found.partition
            LIMIT 1
        )
    WHERE (:last IS NULL OR first.partition <= :last)
        AND turns.free + (
            turns.partition IS NOT NULL
            AND (:concurrency IS NULL OR turns.taken < :concurrency)
            AND (:rate IS NULL OR turns.started < :rate)
            AND turns.partition NOT IN (SELECT value FROM json_each(:full))
        ) < :wanted
)

SELECT json_group_array(json_array(partition, json_array(taken, started, full_since)))
FROM turns
WHERE partition IS NOT NULL
