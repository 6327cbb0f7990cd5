-- One page of heads, newest creation first, in the form of find_heads: those that have one of the values of each of some
-- attributes, and none of others. For the oldest first it is read from the other end: with ASC for DESC.
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
        why,
        queue,
        first_seq
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
        -- A name without a version, which follows on '@@', is that of all versions.
        AND (
            :names IS NULL
            OR name IN (SELECT value FROM json_each(:names))
            OR substr(name, 1, instr(name, '@@') - 1) IN (SELECT value FROM json_each(:names))
        )
        AND (:ended_from IS NULL OR ended_at >= :ended_from)
        AND (:ended_until IS NULL OR ended_at < :ended_until)
        AND workflow_id NOT IN (
            SELECT absent.workflow_id
            FROM json_each(:absent) AS missing
            CROSS JOIN attributes AS absent ON absent.name = missing.value
        )
        AND (
            :others_wanted = 0
            OR workflow_id IN (
                SELECT other.workflow_id
                FROM json_each(:others) AS pair
                CROSS JOIN attributes AS other
                    ON other.name = json_extract(pair.value, '$[0]')
                    AND other.value = json_extract(pair.value, '$[1]')
                GROUP BY other.workflow_id
                HAVING count(DISTINCT other.name) = :others_wanted
            )
        )
    ORDER BY created_at DESC, workflow_id DESC
    LIMIT :limit
)
