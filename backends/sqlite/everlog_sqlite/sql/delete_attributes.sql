-- Remove the attributes of workflows.
DELETE FROM attributes
WHERE workflow IN (SELECT value FROM json_each(:numbers))
