-- The place that has a key of a queue, in the form of find_places.
SELECT json_group_array(
    json_array(
        heads.workflow_id,
        heads.name,
        heads.state,
        place.queue,
        place.partition,
        place.priority,
        place.due_at,
        place.dedup_key,
        json(iif(place.stands = 'admitted', 'true', 'false'))
    )
)
FROM queue_places AS place
CROSS JOIN heads ON heads.number = place.workflow
WHERE place.queue = :queue AND place.dedup_key = :dedup_key
