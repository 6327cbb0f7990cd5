-- Who is admitted of these partitions, (position, partition, room): one of each in turn, then the next of each. Gives the
-- turn, the position, the workflow's number and the partition. Of each no more than `depth` are looked at.
WITH offered (position, partition, room) AS (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
    FROM json_each(:partitions)
)

SELECT json_group_array(json_array(turn, position, workflow, partition))
FROM (
    SELECT
        row_number() OVER (
            PARTITION BY offered.position ORDER BY place.priority, place.due_at, place.came
        ) AS turn,
        offered.position,
        offered.room,
        place.workflow,
        place.partition
    FROM offered
    CROSS JOIN json_each(:names) AS named
    CROSS JOIN queue_places AS place
        ON place.came IN (
            SELECT waiting.came
            FROM queue_places AS waiting
            CROSS JOIN heads ON heads.number = waiting.workflow
            WHERE waiting.queue = :queue
                AND waiting.name = named.value
                AND waiting.partition = offered.partition
                AND waiting.stands = 'due'
                AND heads.token IS NULL
            ORDER BY waiting.priority, waiting.due_at, waiting.came
            LIMIT :depth
        )
)
WHERE turn <= room
