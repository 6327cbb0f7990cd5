-- Put values in the place of those of their names.
INSERT INTO published_values (workflow, name, seq, recorded_at, payload)
SELECT column1, column2, column3, column4, column5
FROM (VALUES (?, ?, ?, ?, ?))
WHERE column1 > 0
ON CONFLICT (workflow, name) DO UPDATE
SET
    seq = excluded.seq,
    recorded_at = excluded.recorded_at,
    payload = excluded.payload
