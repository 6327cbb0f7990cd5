-- Write unread messages as they were elsewhere, in the order given.
INSERT INTO everlog.inbox (
    workflow_id,
    source,
    number,
    topic,
    control,
    payload,
    arrived_at,
    closed
)
SELECT
    new.workflow_id,
    new.source,
    new.number,
    new.topic,
    new.control,
    new.payload,
    new.arrived_at,
    new.closed
FROM unnest(
    %(workflow_id)s,
    %(source)s,
    %(number)s,
    %(topic)s,
    %(control)s,
    %(payload)s,
    %(arrived_at)s,
    %(closed)s
) WITH ORDINALITY AS new (workflow_id, source, number, topic, control, payload, arrived_at, closed, ordinal)
ORDER BY new.ordinal
