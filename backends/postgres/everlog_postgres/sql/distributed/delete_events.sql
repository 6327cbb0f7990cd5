-- Remove the histories of workflows whose heads were removed.
DELETE FROM everlog.events
WHERE events.workflow_id = ANY(%(removed)s)
