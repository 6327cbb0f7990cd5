-- Which of these messages are unread, and where.
SELECT inbox.workflow_id, inbox.source, inbox.number, inbox.position
FROM everlog.inbox
INNER JOIN (
    SELECT *
    FROM unnest(%(destinations)s, %(sources)s, %(numbers)s) AS sent (destination, source, number)
) AS sent ON inbox.workflow_id = sent.destination AND inbox.source = sent.source AND inbox.number = sent.number
WHERE inbox.workflow_id = ANY(%(destinations)s)
