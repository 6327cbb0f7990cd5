-- The fence: move the heads that bear these tokens and seqs; gives those. One that another has changed meanwhile is
-- compared again in its newest version. The ids stand there twice: of the second, servers are found that have none.
UPDATE everlog.heads
SET
    seq = given.next_seq,
    bytes = CASE WHEN given.first_seq IS NULL THEN heads.bytes + given.size ELSE given.size END,
    takeovers = CASE WHEN given.forgives THEN 0 ELSE heads.takeovers END,
    state = given.state,
    ended_at = given.ended_at,
    token = CASE WHEN given.free THEN NULL ELSE heads.token END,
    worker = CASE WHEN given.free THEN NULL ELSE heads.worker END,
    wake_at = given.wake_at,
    -- In a function: Citus 13.2 takes a bare slice for an assignment to a part of the column, and crashes.
    topics = coalesce((%(topics)s)[given.first_topic::integer:given.last_topic::integer], '{}'),
    build = given.build,
    why = given.why,
    first_seq = coalesce(given.first_seq, heads.first_seq),
    name = coalesce(given.name, heads.name)
FROM (
    SELECT *
    FROM unnest(
        %(ids)s,
        %(tokens)s,
        %(seqs)s,
        %(next_seqs)s,
        %(sizes)s,
        %(forgives)s,
        %(states)s,
        %(ends)s,
        %(frees)s,
        %(wake_ats)s,
        %(first_topics)s,
        %(last_topics)s,
        %(builds)s,
        %(whys)s,
        %(first_seqs)s,
        %(next_names)s
    ) AS given (
        workflow_id,
        token,
        seq,
        next_seq,
        size,
        forgives,
        state,
        ended_at,
        free,
        wake_at,
        first_topic,
        last_topic,
        build,
        why,
        first_seq,
        name
    )
) AS given
WHERE heads.workflow_id = given.workflow_id
    AND heads.workflow_id = ANY(%(ids)s)
    AND heads.token IS NOT DISTINCT FROM given.token
    AND heads.seq = given.seq
RETURNING heads.workflow_id, heads.created_at
