-- Which of these messages were delivered before: the place of each, whether it is unread still, whether its key is known.
SELECT
    sent.place,
    EXISTS (
        SELECT
        FROM everlog.inbox
        WHERE inbox.workflow_id = sent.destination
            AND inbox.source = sent.source
            AND inbox.number = sent.number
            AND (
                inbox.workflow_id <> sent.sender
                OR (inbox.position IN (SELECT unnest(%(consumed_positions)s))) IS FALSE
            )
    ),
    EXISTS (
        SELECT
        FROM everlog.message_keys
        WHERE message_keys.workflow_id = sent.destination AND message_keys.key = sent.key
    )
FROM unnest(%(senders)s, %(destinations)s, %(sources)s, %(numbers)s, %(keys)s) WITH ORDINALITY AS sent (
    sender,
    destination,
    source,
    number,
    key,
    place
)
