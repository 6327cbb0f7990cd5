-- The unread messages of these workflows, in order.
SELECT workflow, row, source, number, topic, payload, control, arrived_at
FROM inbox
WHERE workflow IN (SELECT value FROM json_each(:numbers))
ORDER BY row
