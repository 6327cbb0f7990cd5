-- A page of what was done to workflows, in order.
SELECT audit.number, audit.done_at, audit.done_by, audit.action, audit.workflow_ids, audit.said
FROM everlog.audit
WHERE audit.number > %(after)s
ORDER BY audit.number
LIMIT %(limit)s
