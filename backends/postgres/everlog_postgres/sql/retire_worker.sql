-- Remove a worker and take the tokens of all that it held; what was running is counted as taken over. Gives how many.
-- It waits for nobody: a head that another transaction has locked keeps its token, and its holder is still listed.
WITH locked AS MATERIALIZED (
    SELECT heads.workflow_id
    FROM everlog.heads
    WHERE heads.worker = %(worker)s
    FOR NO KEY UPDATE OF heads SKIP LOCKED
),

freed AS (
    UPDATE everlog.heads
    SET
        token = NULL,
        worker = NULL,
        takeovers = heads.takeovers + (heads.state = 'running')::integer
    FROM locked
    WHERE heads.workflow_id = locked.workflow_id
    RETURNING heads.workflow_id
),

removed AS (
    DELETE FROM everlog.workers
    WHERE workers.worker = %(worker)s
    RETURNING workers.worker
),

noted AS (
    INSERT INTO everlog.writes (written_in)
    SELECT pg_current_xact_id()
    WHERE EXISTS (SELECT FROM freed) OR EXISTS (SELECT FROM removed)
)

SELECT count(*)
FROM freed
