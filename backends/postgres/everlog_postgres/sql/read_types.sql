-- The events of some types of one history.
SELECT
    events.workflow_id,
    events.seq,
    events.type,
    events.recorded_at,
    events.payload
FROM everlog.events
WHERE events.workflow_id = %(workflow_id)s
    AND events.seq > %(after)s
    AND events.seq <= coalesce(%(until)s::bigint, 9223372036854775807)
    AND events.type = ANY(%(types)s)
ORDER BY events.seq
