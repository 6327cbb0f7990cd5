-- The unread messages of these workflows, in order.
SELECT
    inbox.workflow_id,
    inbox.position,
    inbox.source,
    inbox.number,
    inbox.topic,
    inbox.payload,
    inbox.control,
    inbox.arrived_at
FROM everlog.inbox
WHERE inbox.workflow_id = ANY(%(workflow_ids)s)
ORDER BY inbox.workflow_id, inbox.position
