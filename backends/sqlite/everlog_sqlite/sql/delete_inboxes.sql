-- Remove what lies unread of workflows.
DELETE FROM inbox
WHERE workflow IN (SELECT value FROM json_each(:numbers))
