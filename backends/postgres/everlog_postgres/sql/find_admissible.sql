-- Who is to be admitted of these partitions: one of each in turn, then the next of each, as far as each has room. Of each
-- no more than `depth` are looked at.
SELECT chosen.workflow_id, chosen.partition
FROM (
    SELECT
        place.workflow_id,
        offered.partition,
        offered.position,
        offered.room,
        row_number() OVER (
            PARTITION BY offered.position
            ORDER BY place.priority, place.due_at, place.came
        ) AS turn
    FROM unnest(%(partitions)s, %(rooms)s) WITH ORDINALITY AS offered (partition, room, position)
    CROSS JOIN unnest(%(names)s) AS named (name)
    CROSS JOIN LATERAL (
        SELECT
            waiting.workflow_id,
            waiting.priority,
            waiting.due_at,
            waiting.came
        FROM everlog.queue_places AS waiting
        INNER JOIN everlog.heads ON waiting.workflow_id = heads.workflow_id
        WHERE waiting.queue = %(queue)s
            AND waiting.name = named.name
            AND waiting.partition = offered.partition
            AND waiting.stands = 'due'
            AND heads.token IS NULL
        ORDER BY waiting.priority, waiting.due_at, waiting.came
        LIMIT %(depth)s
    ) AS place
) AS chosen
WHERE chosen.turn <= chosen.room
ORDER BY chosen.turn, chosen.position
LIMIT %(wanted)s
