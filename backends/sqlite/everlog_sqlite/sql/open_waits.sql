-- List waits. One that is there already was written when the answer to the same commit was lost.
INSERT INTO waits (workflow, seq, operation, topic, title, opened_at, due_at, metadata, schema)
SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?))
WHERE column1 > 0
ON CONFLICT (workflow, seq) DO NOTHING
