-- The unread messages of what this claim took, read after it was taken, as in read_histories.
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
FROM everlog.heads
INNER JOIN everlog.inbox ON heads.workflow_id = inbox.workflow_id
WHERE heads.worker = %(worker)s AND heads.token = ANY(%(tokens)s)
