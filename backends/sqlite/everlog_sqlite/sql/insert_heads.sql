-- Create workflows.
INSERT INTO heads (number, workflow_id, name, state, seq, bytes, created_at, ended_at, token, worker, wake_at, queue)
SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11, column12
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
WHERE column1 > 0
