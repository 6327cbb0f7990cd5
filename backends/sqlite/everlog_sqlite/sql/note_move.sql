-- Say why the database is closed.
INSERT INTO moves (place, payload)
VALUES (1, :payload)
ON CONFLICT (place) DO UPDATE
SET payload = excluded.payload
