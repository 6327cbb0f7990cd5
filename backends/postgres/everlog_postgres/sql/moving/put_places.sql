-- Write places as they were elsewhere; one without `came` comes behind those that are there.
INSERT INTO everlog.queue_places (
    workflow_id,
    came,
    queue,
    name,
    partition,
    priority,
    due_at,
    dedup_key,
    stands
) OVERRIDING SYSTEM VALUE
SELECT
    new.workflow_id,
    coalesce(new.came, nextval(pg_get_serial_sequence('everlog.queue_places', 'came'))),
    new.queue,
    new.name,
    new.partition,
    new.priority,
    new.due_at,
    new.dedup_key,
    new.stands
FROM unnest(
    %(workflow_id)s,
    %(came)s,
    %(queue)s,
    %(name)s,
    %(partition)s,
    %(priority)s,
    %(due_at)s,
    %(dedup_key)s,
    %(stands)s
) WITH ORDINALITY AS new (workflow_id, came, queue, name, partition, priority, due_at, dedup_key, stands, ordinal)
ORDER BY new.ordinal
