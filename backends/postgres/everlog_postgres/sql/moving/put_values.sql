-- Write values as they were elsewhere.
INSERT INTO everlog.published_values (
    workflow_id,
    name,
    seq,
    recorded_at,
    payload
)
SELECT
    new.workflow_id,
    new.name,
    new.seq,
    new.recorded_at,
    new.payload
FROM unnest(
    %(workflow_id)s,
    %(name)s,
    %(seq)s,
    %(recorded_at)s,
    %(payload)s
) WITH ORDINALITY AS new (workflow_id, name, seq, recorded_at, payload, ordinal)
ORDER BY new.ordinal
