-- Append events to the log, in the order given.
INSERT INTO events (workflow, seq, type, recorded_at, payload)
SELECT column1, column2, column3, column4, column5
FROM (VALUES (?, ?, ?, ?, ?))
WHERE column1 > 0
