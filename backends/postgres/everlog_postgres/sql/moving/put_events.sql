-- Write histories as they were elsewhere.
INSERT INTO everlog.events (
    workflow_id,
    seq,
    type,
    recorded_at,
    payload
)
SELECT
    new.workflow_id,
    new.seq,
    new.type,
    new.recorded_at,
    new.payload
FROM unnest(
    %(workflow_id)s,
    %(seq)s,
    %(type)s,
    %(recorded_at)s,
    %(payload)s
) WITH ORDINALITY AS new (workflow_id, seq, type, recorded_at, payload, ordinal)
ORDER BY new.ordinal
