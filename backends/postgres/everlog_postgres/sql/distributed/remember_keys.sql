-- Remember the keys of delivered messages. No ON CONFLICT here: if another has sent such a key meanwhile, the whole
-- transaction fails and is repeated, and then sees the key.
INSERT INTO everlog.message_keys (workflow_id, key)
SELECT *
FROM unnest(%(destinations)s, %(keys)s) AS sent (destination, key)
