-- What list_workflows gives where an attribute is asked for: for each of its values as many as the page has places, along
-- the index, so that the cost does not grow with how many there are.
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
    SELECT DISTINCT heads.* -- some may have two of the values
    FROM json_each(:texts) AS wanted
    CROSS JOIN heads
        ON heads.workflow_id IN (
            SELECT fit.workflow_id
            FROM attributes AS fit
            CROSS JOIN heads AS found ON found.workflow_id = fit.workflow_id
            WHERE fit.name = :name
                AND fit.value = wanted.value
                AND (fit.created_at, fit.workflow_id) > (:low_time, :low_id)
                AND (fit.created_at, fit.workflow_id) < (:high_time, :high_id)
                AND fit.workflow_id >= :id_from
                AND (:id_until IS NULL OR fit.workflow_id < :id_until)
                AND (:states IS NULL OR found.state IN (SELECT value FROM json_each(:states)))
                -- A name without a version, which follows on '@@', is that of all versions.
                AND (
                    :names IS NULL
                    OR found.name IN (SELECT value FROM json_each(:names))
                    OR substr(found.name, 1, instr(found.name, '@@') - 1) IN (SELECT value FROM json_each(:names))
                )
                AND (:ended_from IS NULL OR found.ended_at >= :ended_from)
                AND (:ended_until IS NULL OR found.ended_at < :ended_until)
                AND NOT EXISTS (
                    SELECT 1
                    FROM attributes AS absent
                    WHERE absent.workflow_id = fit.workflow_id AND absent.name IN (SELECT value FROM json_each(:absent))
                )
                AND :others_wanted = (
                    -- The sign before the value keeps SQLite from going by that, not by the workflow.
                    SELECT count(DISTINCT other.name)
                    FROM json_each(:others) AS pair
                    CROSS JOIN attributes AS other
                        ON other.workflow_id = fit.workflow_id
                        AND other.name = json_extract(pair.value, '$[0]')
                        AND +other.value = json_extract(pair.value, '$[1]')
                )
            ORDER BY fit.created_at DESC, fit.workflow_id DESC
            LIMIT :limit
        )
    ORDER BY heads.created_at DESC, heads.workflow_id DESC
    LIMIT :limit
)
