-- Why the database is closed.
SELECT moves.payload
FROM everlog.moves
