-- What keeps the database closed.
SELECT name, sql
FROM sqlite_master
WHERE type = 'trigger' AND name LIKE 'closed!_%' ESCAPE '!'
