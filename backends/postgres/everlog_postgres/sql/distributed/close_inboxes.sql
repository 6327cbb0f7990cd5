-- What ended workflows leave unread is kept out of the way of claims.
UPDATE everlog.inbox
SET closed = true
WHERE inbox.workflow_id = ANY(%(ended_ids)s)
