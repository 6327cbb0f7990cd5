-- Write commits of workflows that run on and wait for nothing: the usual batch. What commit_batch does, without the rest.
-- It changes no indexed column of a head that ran on before as well, so that no index of heads is touched.
WITH locked AS (
    SELECT
        given.*,
        coalesce(heads.token = given.token AND heads.seq = given.seq, false) AS holds
    FROM unnest(
        %(ids)s,
        %(tokens)s,
        %(seqs)s,
        %(next_seqs)s,
        %(sizes)s,
        %(forgives)s
    ) AS given (workflow_id, token, seq, next_seq, size, forgives)
    CROSS JOIN everlog.heads
    WHERE heads.workflow_id = given.workflow_id
    FOR NO KEY UPDATE OF heads SKIP LOCKED
),

moved AS (
    UPDATE everlog.heads
    SET
        seq = locked.next_seq,
        bytes = heads.bytes + locked.size,
        takeovers = CASE WHEN locked.forgives THEN 0 ELSE heads.takeovers END,
        state = 'running',
        wake_at = NULL,
        topics = '{}',
        build = NULL,
        why = NULL
    FROM locked
    WHERE heads.workflow_id = locked.workflow_id AND locked.holds
    RETURNING heads.workflow_id
),

appended AS (
    INSERT INTO everlog.events (workflow_id, seq, type, recorded_at, payload)
    SELECT *
    FROM unnest(
        %(event_ids)s,
        %(event_seqs)s,
        %(event_types)s,
        %(event_times)s,
        %(event_payloads)s
    ) AS event (workflow_id, seq, type, recorded_at, payload)
    WHERE (event.workflow_id IN (SELECT workflow_id FROM moved)) IS TRUE
),

noted AS (
    INSERT INTO everlog.writes (written_in)
    SELECT pg_current_xact_id()
    WHERE EXISTS (SELECT FROM moved)
)

SELECT
    'commit' AS part,
    given.place,
    CASE
        WHEN (given.workflow_id IN (SELECT workflow_id FROM locked)) THEN 'refused'
        WHEN EXISTS (SELECT FROM everlog.heads WHERE heads.workflow_id = given.workflow_id) THEN 'busy'
        ELSE 'refused'
    END AS outcome,
    0::bigint AS index
FROM unnest(%(ids)s) WITH ORDINALITY AS given (workflow_id, place)
WHERE (given.workflow_id IN (SELECT workflow_id FROM moved)) IS FALSE
