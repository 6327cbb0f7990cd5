-- The places of these workflows.
SELECT
    heads.workflow_id,
    heads.name,
    heads.state,
    queue_places.queue,
    queue_places.partition,
    queue_places.priority,
    queue_places.due_at,
    queue_places.dedup_key,
    queue_places.stands = 'admitted'
FROM everlog.queue_places
INNER JOIN everlog.heads ON queue_places.workflow_id = heads.workflow_id
WHERE queue_places.workflow_id = ANY(%(workflow_ids)s)
