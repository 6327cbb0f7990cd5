-- One page of heads, newest creation first: those that have one of the values of each of some attributes, and none of
-- others. For the oldest first it is read from the other end: with ASC for DESC.
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
FROM everlog.heads
WHERE (heads.created_at, heads.workflow_id) > (%(low_time)s::bigint, %(low_id)s::text)
    AND (heads.created_at, heads.workflow_id) < (%(high_time)s::bigint, %(high_id)s::text)
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
    AND (
        cardinality(%(absent)s) = 0
        OR heads.workflow_id NOT IN (
            SELECT absent.workflow_id
            FROM everlog.attributes AS absent
            WHERE absent.name = ANY(%(absent)s)
        )
    )
    AND (
        %(others_wanted)s::bigint = 0
        OR heads.workflow_id IN (
            SELECT other.workflow_id
            FROM everlog.attributes AS other
            WHERE (other.name, other.value) IN (
                SELECT *
                FROM unnest(%(other_names)s, %(other_values)s) AS pair (name, value)
            )
            GROUP BY other.workflow_id
            HAVING count(DISTINCT other.name) = %(others_wanted)s::bigint
        )
    )
ORDER BY heads.created_at DESC, heads.workflow_id DESC
LIMIT %(limit)s
