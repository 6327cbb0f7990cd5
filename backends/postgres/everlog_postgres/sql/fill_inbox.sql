-- Put messages that arrived elsewhere into the inbox of a workflow that was created in this transaction.
INSERT INTO everlog.inbox (workflow_id, source, number, topic, control, payload, arrived_at, closed)
SELECT
    %(workflow_id)s::text,
    arrived.source,
    arrived.number,
    arrived.topic,
    arrived.control,
    arrived.payload,
    arrived.arrived_at,
    false
FROM unnest(
    %(sources)s,
    %(numbers)s,
    %(message_topics)s,
    %(controls)s,
    %(message_payloads)s,
    %(arrivals)s
) WITH ORDINALITY AS arrived (source, number, topic, control, payload, arrived_at, place)
ORDER BY arrived.place
