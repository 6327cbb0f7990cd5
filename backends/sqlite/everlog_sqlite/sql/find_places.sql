-- The places of these workflows.
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
FROM heads
CROSS JOIN queue_places AS place ON place.workflow = heads.number
WHERE heads.workflow_id IN (SELECT value FROM json_each(:workflow_ids))
