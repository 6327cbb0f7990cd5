-- Deliver messages; gives those that were not there.
INSERT INTO everlog.inbox (workflow_id, source, number, topic, control, payload, arrived_at, closed)
SELECT
    sent.destination,
    sent.source,
    sent.number,
    sent.topic,
    sent.control,
    sent.payload,
    %(now)s::bigint,
    sent.closed
FROM unnest(
    %(destinations)s,
    %(sources)s,
    %(numbers)s,
    %(message_topics)s,
    %(controls)s,
    %(message_payloads)s,
    %(closed)s
) WITH ORDINALITY AS sent (destination, source, number, topic, control, payload, closed, place)
ORDER BY sent.place
ON CONFLICT (workflow_id, source, number) DO NOTHING
RETURNING workflow_id, source, number
