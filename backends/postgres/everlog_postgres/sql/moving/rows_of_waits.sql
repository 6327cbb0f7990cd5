-- The listed waits of these workflows.
SELECT
    waits.workflow_id,
    waits.seq,
    waits.operation,
    waits.topic,
    waits.title,
    waits.opened_at,
    waits.due_at,
    waits.metadata,
    waits.schema
FROM everlog.waits
WHERE waits.workflow_id = ANY(%(workflow_ids)s)
ORDER BY waits.workflow_id, waits.seq
