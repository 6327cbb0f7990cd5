-- A part of one history.
SELECT
    events.workflow_id,
    events.seq,
    events.type,
    events.recorded_at,
    events.payload
FROM everlog.events
WHERE events.workflow_id = %(workflow_id)s AND events.seq > %(after)s
ORDER BY events.seq
LIMIT %(limit)s
