-- Remove the heads of workflows.
DELETE FROM heads
WHERE number IN (SELECT value FROM json_each(:numbers))
