-- A snapshot, and what it shows unread of all that a worker holds: one row for each message, one of nulls for none.
SELECT
    snapshot.taken::text,
    unread.*
FROM pg_current_snapshot() AS snapshot (taken)
LEFT JOIN (
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
) AS unread ON true
