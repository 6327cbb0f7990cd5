-- Append rows to streams. One that is there already was written when the answer to the same commit was lost.
INSERT INTO stream_rows (workflow, stream, first_offset, count, kind, written_at, operation, attempt, payload)
SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?))
WHERE column1 > 0
ON CONFLICT (workflow, stream, first_offset) DO NOTHING
