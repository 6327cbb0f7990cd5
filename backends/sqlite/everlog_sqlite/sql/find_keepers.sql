-- Who has these keys of queues: the queue, the key, the workflow and whether it was admitted.
SELECT json_group_array(
    json_array(place.queue, place.dedup_key, heads.workflow_id, json(iif(place.stands = 'admitted', 'true', 'false')))
)
FROM json_each(:keys) AS wanted
CROSS JOIN queue_places AS place
    ON place.queue = json_extract(wanted.value, '$[0]')
    AND place.dedup_key = json_extract(wanted.value, '$[1]')
CROSS JOIN heads ON heads.number = place.workflow
