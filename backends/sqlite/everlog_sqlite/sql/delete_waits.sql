-- Remove the waits of workflows.
DELETE FROM waits
WHERE workflow IN (SELECT value FROM json_each(:numbers))
