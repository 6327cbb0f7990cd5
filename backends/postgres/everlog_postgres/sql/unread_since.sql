-- A snapshot, and what became visible between an earlier one and it of the unread messages of all that a worker holds, in
-- the form of unread.
-- Not those with a greater position: a sender takes that before it commits, so a smaller one may become visible later.
-- What an earlier snapshot did not show was sent by transactions that were running then, or had not begun.
WITH news AS (
    SELECT inbox.*
    FROM everlog.inbox
    WHERE NOT inbox.closed AND inbox.sent_in >= %(next)s::xid8
    UNION ALL
    SELECT inbox.*
    FROM everlog.inbox
    WHERE NOT inbox.closed AND inbox.sent_in < %(next)s::xid8 AND inbox.sent_in = ANY(%(running)s::xid8[])
)

SELECT
    snapshot.taken::text,
    unread.*
FROM pg_current_snapshot() AS snapshot (taken)
LEFT JOIN (
    SELECT
        news.workflow_id,
        news.position,
        news.source,
        news.number,
        news.topic,
        news.payload,
        news.control,
        news.arrived_at,
        news.sent_in::text
    FROM news
    INNER JOIN everlog.heads ON news.workflow_id = heads.workflow_id
    WHERE heads.worker = %(worker)s
) AS unread ON true
