-- The numbers of the next workflows in order of age, and the bytes of their histories. `bytes` of a head does not count
-- what lies before its last `workflow_continued`.
SELECT heads.number, (SELECT sum(length(CAST(payload AS BLOB))) FROM events WHERE events.workflow = heads.number)
FROM heads
WHERE (heads.created_at, heads.workflow_id) > (:created_at, :workflow_id)
ORDER BY heads.created_at, heads.workflow_id
LIMIT :limit
