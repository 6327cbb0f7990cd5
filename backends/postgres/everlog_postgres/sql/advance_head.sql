-- Write a commit of one event of one workflow that runs on and waits for nothing: the usual commit where little goes on.
-- What advance_heads does, for less than half the work. It gives a row if it was done; where it gives none nothing was
-- written, and advance_heads says why.
WITH moved AS (
    UPDATE everlog.heads
    SET
        seq = %(seq)s::bigint + 1,
        bytes = heads.bytes + %(size)s::bigint,
        takeovers = CASE WHEN %(forgives)s::boolean THEN 0 ELSE heads.takeovers END,
        state = 'running',
        wake_at = NULL,
        topics = '{}',
        build = NULL,
        why = NULL
    WHERE heads.workflow_id = (
        SELECT mine.workflow_id
        FROM everlog.heads AS mine
        WHERE mine.workflow_id = %(workflow_id)s::text
            AND mine.token = %(token)s::text
            AND mine.seq = %(seq)s::bigint
        FOR NO KEY UPDATE SKIP LOCKED
    )
    RETURNING heads.workflow_id
),

appended AS (
    INSERT INTO everlog.events (workflow_id, seq, type, recorded_at, payload)
    SELECT
        moved.workflow_id,
        %(seq)s::bigint + 1,
        %(type)s::text,
        %(recorded_at)s::bigint,
        %(payload)s::text
    FROM moved
),

noted AS (
    INSERT INTO everlog.writes (written_in)
    SELECT pg_current_xact_id()
    FROM moved
)

SELECT 1
FROM moved
