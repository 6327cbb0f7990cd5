-- Say why the database is closed.
INSERT INTO everlog.moves (only, payload)
VALUES (1, %(payload)s)
ON CONFLICT (only) DO UPDATE
SET payload = excluded.payload
