-- Remove the keys of the messages of workflows whose heads were removed.
DELETE FROM everlog.message_keys
WHERE message_keys.workflow_id = ANY(%(removed)s)
