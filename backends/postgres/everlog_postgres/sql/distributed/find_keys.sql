-- Which of these keys are known.
SELECT message_keys.workflow_id, message_keys.key
FROM everlog.message_keys
INNER JOIN (
    SELECT *
    FROM unnest(%(destinations)s, %(keys)s) AS sent (destination, key)
) AS sent ON message_keys.workflow_id = sent.destination AND message_keys.key = sent.key
WHERE message_keys.workflow_id = ANY(%(destinations)s)
