-- Lock one head, unless another transaction has: then it is passed over.
SELECT heads.workflow_id
FROM everlog.heads
WHERE heads.workflow_id = %(workflow_id)s
FOR NO KEY UPDATE SKIP LOCKED
