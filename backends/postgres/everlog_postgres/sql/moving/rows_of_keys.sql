-- The keys of all messages that these workflows were ever sent.
SELECT message_keys.workflow_id, message_keys.key
FROM everlog.message_keys
WHERE message_keys.workflow_id = ANY(%(workflow_ids)s)
ORDER BY message_keys.workflow_id, message_keys.key
