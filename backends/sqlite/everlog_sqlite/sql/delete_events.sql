-- Remove the histories of workflows.
DELETE FROM events
WHERE workflow IN (SELECT value FROM json_each(:numbers))
