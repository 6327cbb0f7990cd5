-- The keys of all messages that these workflows were ever sent.
SELECT workflow, key
FROM message_keys
WHERE workflow IN (SELECT value FROM json_each(:numbers))
ORDER BY workflow, key
