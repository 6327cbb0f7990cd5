-- The next workflows in order of age, and the bytes of their histories. `bytes` of a head does not count what lies before
-- its last `workflow_continued`.
SELECT
    heads.workflow_id,
    (SELECT sum(octet_length(events.payload)) FROM everlog.events WHERE events.workflow_id = heads.workflow_id)::bigint
FROM everlog.heads
WHERE (heads.created_at, heads.workflow_id) > (%(created_at)s::bigint, %(workflow_id)s::text COLLATE "C")
ORDER BY heads.created_at, heads.workflow_id
LIMIT %(limit)s
