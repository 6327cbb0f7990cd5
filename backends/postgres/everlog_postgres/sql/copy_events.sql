-- Copy the first events of one history to another, save those that it has of its own.
INSERT INTO everlog.events (workflow_id, seq, type, recorded_at, payload)
SELECT
    %(workflow_id)s::text,
    events.seq,
    events.type,
    events.recorded_at,
    events.payload
FROM everlog.events
WHERE events.workflow_id = %(source)s AND events.seq <= %(until)s AND events.seq <> ALL(%(own)s)
