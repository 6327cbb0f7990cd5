-- The partitions of a queue from one name to another in which somebody of these names is due and unheld, until so many
-- have a slot to give: each with what measure_queue gives of a queue. No name can lie between a name and that with
-- chr(1) behind it, so a search from there finds the next one, however many are due in each. Who asks has no room for
-- those of the partitions in `full`.
-- `free` counts those before that have a slot to give; the first row stands before the first partition.
WITH RECURSIVE turns AS (
    SELECT
        NULL::text COLLATE "C" AS partition,
        NULL::bigint AS taken,
        NULL::bigint AS started,
        NULL::bigint AS full_since,
        0 AS free
    UNION ALL
    SELECT
        first.partition,
        measured.taken,
        measured.started,
        measured.full_since,
        turns.free + (
            turns.partition IS NOT NULL
            AND (%(concurrency)s::bigint IS NULL OR turns.taken < %(concurrency)s)
            AND (%(rate)s::bigint IS NULL OR turns.started < %(rate)s)
            AND turns.partition <> ALL (%(full)s)
        )::integer
    FROM turns
    CROSS JOIN LATERAL (
        SELECT min(found.partition) AS partition
        FROM unnest(%(names)s) AS named (name)
        CROSS JOIN LATERAL (
            SELECT place.partition
            FROM everlog.queue_places AS place
            INNER JOIN everlog.heads ON place.workflow_id = heads.workflow_id
            WHERE place.queue = %(queue)s
                AND place.name = named.name
                AND place.partition >= coalesce(turns.partition || chr(1), %(first)s)
                AND place.stands = 'due'
                AND heads.token IS NULL
            ORDER BY place.partition
            LIMIT 1
        ) AS found
    ) AS first
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN %(concurrency)s::bigint IS NOT NULL
                    THEN (
                        SELECT count(*)
                        FROM everlog.queue_places
                        WHERE queue_places.queue = %(queue)s
                            AND queue_places.partition = first.partition
                            AND queue_places.stands = 'admitted'
                    ) + (
                        SELECT count(*)
                        FROM everlog.queue_slots
                        WHERE queue_slots.queue = %(queue)s
                            AND queue_slots.partition = first.partition
                    )
            END AS taken,
            CASE
                WHEN %(rate)s::bigint IS NOT NULL
                    THEN (
                        SELECT count(*)
                        FROM everlog.queue_starts
                        WHERE queue_starts.queue = %(queue)s
                            AND queue_starts.partition = first.partition
                            AND queue_starts.started_at > %(since)s
                    )
            END AS started,
            CASE
                WHEN %(rate)s::bigint IS NOT NULL
                    THEN (
                        SELECT queue_starts.started_at
                        FROM everlog.queue_starts
                        WHERE queue_starts.queue = %(queue)s
                            AND queue_starts.partition = first.partition
                            AND queue_starts.started_at > %(since)s
                        ORDER BY queue_starts.started_at DESC
                        LIMIT 1 OFFSET coalesce(%(rate)s::bigint, 1) - 1
                    )
            END AS full_since
    ) AS measured
    WHERE first.partition IS NOT NULL
        AND (%(last)s::text IS NULL OR first.partition <= %(last)s)
        AND turns.free + (
            turns.partition IS NOT NULL
            AND (%(concurrency)s::bigint IS NULL OR turns.taken < %(concurrency)s)
            AND (%(rate)s::bigint IS NULL OR turns.started < %(rate)s)
            AND turns.partition <> ALL (%(full)s)
        )::integer < %(wanted)s
)

SELECT partition, taken, started, full_since
FROM turns
WHERE partition IS NOT NULL
