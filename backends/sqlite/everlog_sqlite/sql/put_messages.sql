-- Write unread messages as they were elsewhere, in the order given.
INSERT INTO inbox (workflow, source, number, topic, control, payload, arrived_at, closed)
SELECT column1, column2, column3, column4, column5, column6, column7, column8
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?))
WHERE column1 > 0
