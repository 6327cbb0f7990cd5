-- Remove the values that workflows have set.
DELETE FROM published_values
WHERE workflow IN (SELECT value FROM json_each(:numbers))
