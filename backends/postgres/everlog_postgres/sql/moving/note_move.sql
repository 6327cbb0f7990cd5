-- Say why the database is closed.
INSERT INTO everlog.moves (place, payload)
VALUES (1, %(payload)s)
ON CONFLICT (place) DO UPDATE
SET payload = excluded.payload
