-- What a worker holds.
SELECT heads.workflow_id
FROM everlog.heads
WHERE heads.worker = %(worker)s
