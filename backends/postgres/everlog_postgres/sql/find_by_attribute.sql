-- What list_workflows gives where an attribute is asked for: for each of its values as many as the page has places, along
-- the index, so that the cost does not grow with how many there are. One that has two of the values is found twice.
SELECT DISTINCT ON (found.created_at, found.workflow_id) found.*
FROM unnest(%(values)s) AS wanted (value)
CROSS JOIN LATERAL (
    SELECT
        heads.workflow_id,
        heads.name,
        heads.state,
        heads.seq,
        heads.bytes,
        heads.created_at,
        heads.ended_at,
        heads.token,
        heads.worker,
        heads.wake_at,
        heads.topics,
        heads.takeovers,
        heads.build,
        heads.why,
        heads.queue,
        heads.first_seq
    FROM everlog.attributes AS fit
    INNER JOIN everlog.heads ON fit.workflow_id = heads.workflow_id
    WHERE fit.name = %(name)s::text
        AND fit.value = wanted.value
        AND (fit.created_at, fit.workflow_id) > (%(low_time)s::bigint, %(low_id)s::text)
        AND (fit.created_at, fit.workflow_id) < (%(high_time)s::bigint, %(high_id)s::text)
        AND heads.workflow_id >= %(id_from)s::text
        AND (%(id_until)s::text IS NULL OR heads.workflow_id < %(id_until)s::text)
        AND (%(states)s::text[] IS NULL OR heads.state = ANY(%(states)s::text[]))
        -- A name without a version, which follows on '@@', is that of all versions.
        AND (
            %(names)s::text[] IS NULL
            OR heads.name = ANY(%(names)s::text[])
            OR split_part(heads.name, '@@', 1) = ANY(%(names)s::text[])
        )
        AND (%(ended_from)s::bigint IS NULL OR heads.ended_at >= %(ended_from)s::bigint)
        AND (%(ended_until)s::bigint IS NULL OR heads.ended_at < %(ended_until)s::bigint)
        -- In sums: of an EXISTS the planner could make a join, which would read all attributes.
        AND (
            cardinality(%(absent)s) = 0
            OR 0 = (
                SELECT count(*)
                FROM everlog.attributes AS absent
                WHERE absent.workflow_id = fit.workflow_id AND absent.name = ANY(%(absent)s)
            )
        )
        AND (
            %(others_wanted)s::bigint = 0
            OR %(others_wanted)s::bigint = (
                SELECT count(DISTINCT other.name)
                FROM everlog.attributes AS other
                WHERE other.workflow_id = fit.workflow_id
                    AND (other.name, other.value) IN (
                        SELECT *
                        FROM unnest(%(other_names)s, %(other_values)s) AS pair (name, value)
                    )
            )
        )
    ORDER BY fit.created_at DESC, fit.workflow_id DESC
    LIMIT %(limit)s
) AS found
ORDER BY found.created_at DESC, found.workflow_id DESC
LIMIT %(limit)s
