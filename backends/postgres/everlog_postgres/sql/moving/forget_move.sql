-- Say no more why the database is closed.
DELETE FROM everlog.moves
