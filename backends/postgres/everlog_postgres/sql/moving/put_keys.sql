-- Write the keys of messages that workflows were sent elsewhere.
INSERT INTO everlog.message_keys (
    workflow_id,
    key
)
SELECT
    new.workflow_id,
    new.key
FROM unnest(
    %(workflow_id)s,
    %(key)s
) WITH ORDINALITY AS new (workflow_id, key, ordinal)
ORDER BY new.ordinal
