-- Say why the database is closed.
INSERT INTO moves (only, payload)
VALUES (1, :payload)
ON CONFLICT (only) DO UPDATE
SET payload = excluded.payload
