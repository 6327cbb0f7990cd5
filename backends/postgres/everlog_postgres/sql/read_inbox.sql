-- The unread messages of a workflow, whoever holds it, as in read_inboxes.
SELECT
    inbox.workflow_id,
    inbox.position,
    inbox.source,
    inbox.number,
    inbox.topic,
    inbox.payload,
    inbox.control,
    inbox.arrived_at,
    inbox.sent_in::text
FROM everlog.inbox
WHERE inbox.workflow_id = %(workflow_id)s
ORDER BY inbox.position
