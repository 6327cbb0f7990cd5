-- Take keys away from who was admitted.
UPDATE queue_places
SET dedup_key = NULL
WHERE came IN (
    SELECT place.came
    FROM json_each(:keys) AS taken
    CROSS JOIN queue_places AS place
        ON place.queue = json_extract(taken.value, '$[0]')
        AND place.dedup_key = json_extract(taken.value, '$[1]')
)
