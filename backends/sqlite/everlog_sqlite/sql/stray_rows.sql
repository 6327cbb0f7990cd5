-- How many rows of each table belong to no workflow, or contradict its head.
SELECT 'events', count(*) FROM events WHERE workflow NOT IN (SELECT number FROM heads)
UNION ALL
SELECT 'unread messages', count(*) FROM inbox WHERE workflow NOT IN (SELECT number FROM heads)
UNION ALL
SELECT 'unread messages that are closed as their workflow is not', count(*)
FROM inbox
CROSS JOIN heads ON heads.number = inbox.workflow
WHERE inbox.closed <> (heads.ended_at IS NOT NULL)
UNION ALL
SELECT 'keys of messages', count(*) FROM message_keys WHERE workflow NOT IN (SELECT number FROM heads)
UNION ALL
SELECT 'values', count(*) FROM published_values WHERE workflow NOT IN (SELECT number FROM heads)
UNION ALL
SELECT 'rows of streams', count(*) FROM stream_rows WHERE workflow NOT IN (SELECT number FROM heads)
UNION ALL
SELECT 'waits', count(*) FROM waits WHERE workflow NOT IN (SELECT number FROM heads)
UNION ALL
SELECT 'places in queues', count(*) FROM queue_places WHERE workflow NOT IN (SELECT number FROM heads)
UNION ALL
SELECT 'starts of unknown queues', count(*) FROM queue_starts WHERE queue NOT IN (SELECT name FROM queues)
UNION ALL
SELECT 'attributes', count(*) FROM attributes WHERE workflow_id NOT IN (SELECT heads.workflow_id FROM heads)
UNION ALL
SELECT 'holds', count(*) FROM holds WHERE workflow_id NOT IN (SELECT heads.workflow_id FROM heads)
