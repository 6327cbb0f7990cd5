-- Note what was done to workflows.
INSERT INTO everlog.audit (done_at, done_by, action, workflow_ids, said)
VALUES (%(done_at)s, %(done_by)s, %(action)s, %(workflow_ids)s, %(said)s)
