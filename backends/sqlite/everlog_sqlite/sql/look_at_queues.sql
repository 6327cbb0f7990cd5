-- What these queues have for who runs workflows of these names, unless they are paused: the names of those that are due,
-- and when the next that is delayed and unheld will be.
SELECT json_group_array(
    json_array(
        queues.name,
        json(queues.limits),
        queues.served,
        json(
            (
                SELECT json_group_array(named.value)
                FROM json_each(:names) AS named
                WHERE EXISTS (
                    SELECT 1
                    FROM queue_places
                    WHERE queue = queues.name AND name = named.value AND stands = 'due'
                )
            )
        ),
        (
            SELECT min(
                (
                    SELECT place.due_at
                    FROM queue_places AS place
                    CROSS JOIN heads ON heads.number = place.workflow
                    WHERE place.queue = queues.name
                        AND place.name = named.value
                        AND place.stands = 'delayed'
                        AND heads.token IS NULL
                    ORDER BY place.due_at
                    LIMIT 1
                )
            )
            FROM json_each(:names) AS named
        )
    )
)
FROM json_each(:queues) AS offered
CROSS JOIN queues ON queues.name = offered.value AND NOT queues.paused
