-- Remove a worker and take the tokens of all that it held; what was running is counted as taken over. Gives how many.
-- It waits for a commit of the worker that is being written: so none is made after this that was not seen by it.
WITH freed AS (
    UPDATE everlog.heads
    SET
        token = NULL,
        worker = NULL,
        takeovers = heads.takeovers + (heads.state = 'running')::integer
    WHERE heads.worker = %(worker)s
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
