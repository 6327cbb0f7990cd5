-- What is unread of all that a worker holds. All of it each time: transactions of one server's numbers say nothing of
-- what has become visible on another.
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
WHERE heads.worker = %(worker)s
