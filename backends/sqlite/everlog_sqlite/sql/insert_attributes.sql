-- Keep attributes.
INSERT INTO attributes (workflow_id, name, value, place, created_at)
SELECT column1, column2, column3, column4, column5
FROM (VALUES (?, ?, ?, ?, ?))
WHERE column1 > 0
