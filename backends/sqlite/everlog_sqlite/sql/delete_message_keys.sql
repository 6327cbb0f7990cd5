-- Remove the keys of the messages of workflows.
DELETE FROM message_keys
WHERE workflow IN (SELECT value FROM json_each(:numbers))
