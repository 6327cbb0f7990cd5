-- Note what was done to workflows.
INSERT INTO audit (done_at, done_by, action, workflow_ids, said)
VALUES (:done_at, :done_by, :action, :workflow_ids, :said)
