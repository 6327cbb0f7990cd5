-- Write listed waits as they were elsewhere.
INSERT INTO everlog.waits (
    workflow_id,
    seq,
    operation,
    topic,
    title,
    opened_at,
    due_at,
    metadata,
    schema
)
SELECT
    new.workflow_id,
    new.seq,
    new.operation,
    new.topic,
    new.title,
    new.opened_at,
    new.due_at,
    new.metadata,
    new.schema
FROM unnest(
    %(workflow_id)s,
    %(seq)s,
    %(operation)s,
    %(topic)s,
    %(title)s,
    %(opened_at)s,
    %(due_at)s,
    %(metadata)s,
    %(schema)s
) WITH ORDINALITY AS new (workflow_id, seq, operation, topic, title, opened_at, due_at, metadata, schema, ordinal)
ORDER BY new.ordinal
