-- Delete the messages that a history took.
DELETE FROM everlog.inbox
USING (
    SELECT *
    FROM unnest(%(consumed_ids)s, %(consumed_positions)s) AS consumed (workflow_id, position)
) AS consumed
WHERE inbox.workflow_id = consumed.workflow_id
    AND inbox.position = consumed.position
    AND inbox.workflow_id = ANY(%(consumed_ids)s)
