-- One page of heads, newest creation first, in the form of find_heads; none of them with one of some attributes.
-- For the oldest first it is read from the other end: with ASC for DESC.
SELECT json_group_array(
    json_array(
        number,
        workflow_id,
        name,
        state,
        seq,
        bytes,
        created_at,
        ended_at,
        token,
        worker,
        wake_at,
        json(topics),
        takeovers,
        build,
        why
    )
)
FROM (
    SELECT *
    FROM heads
    WHERE (created_at, workflow_id) > (:low_time, :low_id)
        AND (created_at, workflow_id) < (:high_time, :high_id)
        AND workflow_id >= :id_from
        AND (:id_until IS NULL OR workflow_id < :id_until)
        AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
        AND (:names IS NULL OR name IN (SELECT value FROM json_each(:names)))
        AND (:ended_from IS NULL OR ended_at >= :ended_from)
        AND (:ended_until IS NULL OR ended_at < :ended_until)
        AND NOT EXISTS (
            SELECT 1
            FROM attributes AS absent
            WHERE absent.workflow = heads.number AND absent.name IN (SELECT value FROM json_each(:absent))
        )
    ORDER BY created_at DESC, workflow_id DESC
    LIMIT :limit
)
