-- Remember the keys of delivered messages.
INSERT INTO message_keys (workflow, key)
SELECT column1, column2
FROM (VALUES (?, ?))
WHERE column1 > 0
