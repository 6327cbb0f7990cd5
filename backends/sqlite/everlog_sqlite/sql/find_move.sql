-- Why the database is closed.
SELECT payload
FROM moves
