-- One page of waits, the oldest first.
SELECT
    waits.workflow_id,
    waits.seq,
    waits.operation,
    waits.topic,
    waits.title,
    waits.opened_at,
    waits.due_at,
    waits.metadata,
    waits.schema
FROM everlog.waits
WHERE (%(topic)s::text IS NULL OR waits.topic = %(topic)s)
    AND (%(workflow_id)s::text IS NULL OR waits.workflow_id = %(workflow_id)s)
    AND (%(seq)s::bigint IS NULL OR waits.seq = %(seq)s)
    AND (
        %(opened_at)s::bigint IS NULL
        OR (waits.opened_at, waits.workflow_id, waits.seq) > (%(opened_at)s, %(last_id)s::text, %(last_seq)s::bigint)
    )
ORDER BY waits.opened_at, waits.workflow_id, waits.seq
LIMIT %(limit)s
