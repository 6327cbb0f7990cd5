-- The unread messages of workflows that this claim took, read after it, as in read_histories.
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
WHERE inbox.workflow_id = ANY(%(workflow_ids)s)
