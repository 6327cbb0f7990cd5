-- Remove the schedules of these names.
DELETE FROM schedules
WHERE name IN (SELECT value FROM json_each(:names))
