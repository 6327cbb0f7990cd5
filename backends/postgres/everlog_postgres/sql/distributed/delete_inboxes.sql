-- Remove the inboxes of workflows whose heads were removed.
DELETE FROM everlog.inbox
WHERE inbox.workflow_id = ANY(%(removed)s)
