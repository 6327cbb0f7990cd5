-- Remove the waits of workflows whose heads were removed.
DELETE FROM everlog.waits
WHERE waits.workflow_id = ANY(%(removed)s)
