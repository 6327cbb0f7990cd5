-- The histories of these workflows.
SELECT events.workflow_id, events.seq, events.type, events.recorded_at, events.payload
FROM everlog.events
WHERE events.workflow_id = ANY(%(workflow_ids)s)
ORDER BY events.workflow_id, events.seq
