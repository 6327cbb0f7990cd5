-- Write the claimant's tokens into those of the candidates that are as they were found; gives them as they are then.
-- One that another claimant is just taking is waited for, and then is not as it was.
UPDATE everlog.heads
SET
    token = given.token,
    worker = %(worker)s
FROM (
    SELECT *
    FROM unnest(
        %(ids)s,
        %(tokens)s,
        %(states)s,
        %(seqs)s,
        %(wake_ats)s,
        %(first_topics)s,
        %(last_topics)s,
        %(builds)s
    ) AS given (workflow_id, token, state, seq, wake_at, first_topic, last_topic, build)
) AS given
WHERE heads.workflow_id = given.workflow_id
    AND heads.workflow_id = ANY(%(ids)s)
    AND heads.token IS NULL
    AND heads.state = given.state
    AND heads.seq = given.seq
    AND heads.wake_at IS NOT DISTINCT FROM given.wake_at
    AND heads.topics = (%(topics)s)[given.first_topic::integer:given.last_topic::integer]
    AND heads.build IS NOT DISTINCT FROM given.build
RETURNING
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
