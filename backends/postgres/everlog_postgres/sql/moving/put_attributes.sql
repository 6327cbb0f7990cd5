-- Write attributes as they were elsewhere.
INSERT INTO everlog.attributes (
    workflow_id,
    name,
    place,
    value,
    created_at
)
SELECT
    new.workflow_id,
    new.name,
    new.place,
    new.value,
    new.created_at
FROM unnest(
    %(workflow_id)s,
    %(name)s,
    %(place)s,
    %(value)s,
    %(created_at)s
) WITH ORDINALITY AS new (workflow_id, name, place, value, created_at, ordinal)
ORDER BY new.ordinal
