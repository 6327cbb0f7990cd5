-- How many rows of each table belong to no workflow, or contradict its head.
SELECT 'events', count(*)
FROM everlog.events
WHERE NOT EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = events.workflow_id)
UNION ALL
SELECT 'unread messages', count(*)
FROM everlog.inbox
WHERE NOT EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = inbox.workflow_id)
UNION ALL
SELECT 'unread messages that are closed as their workflow is not', count(*)
FROM everlog.inbox
INNER JOIN everlog.heads ON heads.workflow_id = inbox.workflow_id
WHERE inbox.closed <> (heads.ended_at IS NOT NULL)
UNION ALL
SELECT 'keys of messages', count(*)
FROM everlog.message_keys
WHERE NOT EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = message_keys.workflow_id)
UNION ALL
SELECT 'values', count(*)
FROM everlog.published_values
WHERE NOT EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = published_values.workflow_id)
UNION ALL
SELECT 'rows of streams', count(*)
FROM everlog.stream_rows
WHERE NOT EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = stream_rows.workflow_id)
UNION ALL
SELECT 'waits', count(*)
FROM everlog.waits
WHERE NOT EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = waits.workflow_id)
UNION ALL
SELECT 'places in queues', count(*)
FROM everlog.queue_places
WHERE NOT EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = queue_places.workflow_id)
UNION ALL
SELECT 'attributes', count(*)
FROM everlog.attributes
WHERE NOT EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = attributes.workflow_id)
UNION ALL
SELECT 'starts of unknown queues', count(*)
FROM everlog.queue_starts
WHERE NOT EXISTS (SELECT FROM everlog.queues WHERE queues.name = queue_starts.queue)
UNION ALL
SELECT 'holds', count(*)
FROM everlog.holds
WHERE NOT EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = holds.workflow_id)
