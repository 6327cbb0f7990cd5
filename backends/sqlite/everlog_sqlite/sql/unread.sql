-- The unread messages after a row of all that a worker holds, in the form of read_inboxes.
SELECT json_group_array(
    json_array(row, workflow_id, source, number, topic, payload, control, arrived_at)
)
FROM (
    SELECT
        inbox.row,
        heads.workflow_id,
        inbox.source,
        inbox.number,
        inbox.topic,
        inbox.payload,
        inbox.control,
        inbox.arrived_at,
        sum(length(CAST(inbox.payload AS BLOB))) OVER (ORDER BY inbox.row ROWS UNBOUNDED PRECEDING) / 4000000 AS part
    FROM inbox
    CROSS JOIN heads ON heads.number = inbox.workflow
    WHERE inbox.row > :after AND heads.worker = :worker
)
GROUP BY part
ORDER BY part
