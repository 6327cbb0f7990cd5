-- What lies unread of workflows that are opened again counts again.
UPDATE everlog.inbox
SET closed = false
WHERE inbox.workflow_id = ANY(%(open_ids)s) AND inbox.closed
