-- The places of these workflows.
SELECT
    queue_places.workflow_id,
    queue_places.came,
    queue_places.queue,
    queue_places.name,
    queue_places.partition,
    queue_places.priority,
    queue_places.due_at,
    queue_places.dedup_key,
    queue_places.stands
FROM everlog.queue_places
WHERE queue_places.workflow_id = ANY(%(workflow_ids)s)
