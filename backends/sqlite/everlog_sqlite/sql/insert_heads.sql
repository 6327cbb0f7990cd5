-- Create workflows.
INSERT INTO heads (number, workflow_id, name, state, seq, bytes, created_at, ended_at, token, worker)
SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
WHERE column1 > 0
